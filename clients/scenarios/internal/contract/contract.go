// Package contract compares frames with docs/asyncapi.json.
package contract

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/redroomrewards/realtime/docs"
)

// clientFrames and serverFrames are the names of the schemas, by op.
var (
	clientFrames = map[string]string{
		"auth": "AuthFrame", "subscribe": "SubscribeFrame", "unsubscribe": "UnsubscribeFrame", "ping": "PingFrame",
	}
	serverFrames = map[string]string{
		"welcome": "WelcomeFrame", "subscribed": "SubscribedFrame", "event": "EventFrame", "resync": "ResyncFrame",
		"unsubscribed": "UnsubscribedFrame", "pong": "PongFrame", "error": "ErrorFrame",
		"token_expiring": "TokenExpiringFrame", "reconnect": "ReconnectFrame", "closed": "ClosedFrame",
	}
)

// CheckClientFrame returns an error unless the gateway accepts a frame of a client.
func CheckClientFrame(frame any) error {
	object, ok := frame.(map[string]any)
	if !ok {
		return errors.New("a frame must be a JSON object")
	}
	op, _ := object["op"].(string)
	schema, known := clientFrames[op]
	if !known {
		return fmt.Errorf("the op of a frame must be one of the protocol, and is %q", op)
	}
	return validate(schema, frame)
}

// CheckServerFrame returns an error unless a gateway could send a frame. Frames and events of types
// that are not in the contract are correct: a later gateway may send them.
func CheckServerFrame(frame any) error {
	object, _ := frame.(map[string]any)
	op, _ := object["op"].(string)
	schema, known := serverFrames[op]
	if !known {
		return nil
	}
	event, isEvent := object["event"].(map[string]any)
	if isEvent && !knownEvents[fmt.Sprint(event["eventType"])] {
		return nil
	}
	return validate(schema, frame)
}

var knownEvents = map[string]bool{
	"wallet.escrow_held": true, "wallet.escrow_settled": true, "wallet.escrow_refunded": true,
	"wallet.escrow_partial_settled": true, "wallet.balance_updated": true,
}

func validate(schema string, frame any) error {
	schemas, err := compileSchemas()
	if err != nil {
		return err
	}
	return schemas[schema].Validate(frame)
}

// compileSchemas compiles the schemas of all frames once.
var compileSchemas = sync.OnceValues(func() (map[string]*jsonschema.Schema, error) {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(docs.AsyncAPI))
	if err != nil {
		return nil, err
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft7)
	compiler.AssertFormat()
	if err := compiler.AddResource("asyncapi.json", document); err != nil {
		return nil, err
	}
	schemas := map[string]*jsonschema.Schema{}
	for _, frames := range []map[string]string{clientFrames, serverFrames} {
		for _, name := range frames {
			schema, err := compiler.Compile("asyncapi.json#/components/schemas/" + name)
			if err != nil {
				return nil, err
			}
			schemas[name] = schema
		}
	}
	return schemas, nil
})
