// Package docs holds the documents that the programs serve themselves.
package docs

import _ "embed"

// AsyncAPI describes the gateway's WebSocket protocol: AsyncAPI 3.0, JSON. Callers must not change
// it.
//
//go:embed asyncapi.json
var AsyncAPI []byte
