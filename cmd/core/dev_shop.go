package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/internal/problem"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

const (
	// shopQueuePrefix marks the escrows of the demo shop. The live page has escrows of the same user.
	shopQueuePrefix = "shop-"
	// shopTopUp is the number of points that POST /demo/shop/top-up credits.
	shopTopUp = 500
	// maxShopBody bounds the body of a request, in bytes.
	maxShopBody = 4 << 10
	// maxShopOrders bounds the open orders that the shop lists.
	maxShopOrders = 20
)

// shopItem is something that the demo shop sells.
type shopItem struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	Price int64  `json:"price"` // points
}

var shopMenu = []shopItem{
	{ID: "song", Title: "Play my song", Price: 50},
	{ID: "shout-out", Title: "Shout-out", Price: 100},
	{ID: "spin", Title: "Spin the wheel", Price: 150},
	{ID: "private", Title: "Private show", Price: 400},
}

// shopOrder is an item that the user has bought and not got yet. Its price is held in an escrow.
type shopOrder struct {
	ID     string `json:"id"` // of the escrow
	Item   string `json:"item"`
	Amount int64  `json:"amount"`
}

// A shop is the back end of the app at /demo. It has the service token and moves the points of
// user:demo; the app in the browser has only the user's token. The app takes balances from the
// WebSocket and never from an answer of the shop.
type shop struct {
	demo *demo
	api  http.Handler // the core's HTTP API
}

func newShop(d *demo, api http.Handler) *shop { return &shop{demo: d, api: api} }

// addRoutes adds the shop and the app's token endpoint to the core.
func (s *shop) addRoutes(core routes) {
	post := http.NewCrossOriginProtection() // a page of another origin must not buy anything
	core.Handle("GET /demo/token", http.HandlerFunc(s.serveToken))
	core.Handle("GET /demo/shop", http.HandlerFunc(s.serveShop))
	core.Handle("POST /demo/shop/orders", post.Handler(http.HandlerFunc(s.placeOrder)))
	core.Handle("POST /demo/shop/orders/{id}/finish", post.Handler(http.HandlerFunc(s.finishOrder)))
	core.Handle("POST /demo/shop/orders/{id}/cancel", post.Handler(http.HandlerFunc(s.cancelOrder)))
	core.Handle("POST /demo/shop/top-up", post.Handler(http.HandlerFunc(s.topUp)))
}

// serveToken answers the token of user:demo as plain text. Every page of this machine may read it,
// so that an app on a development server of its own can connect.
func (s *shop) serveToken(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Add("Vary", "Origin")
	from := r.Header.Get("Origin")
	if isLoopbackOrigin(from) {
		h.Set("Access-Control-Allow-Origin", from)
	}
	_, _ = io.WriteString(w, s.demo.userToken) // an error means that the client has disconnected
}

// serveShop answers what the app needs to start: where the gateway is, the menu and the open orders.
func (s *shop) serveShop(w http.ResponseWriter, r *http.Request) {
	orders, err := s.listOrders(r.Context())
	if err != nil {
		problem.Write(w, problem.New(http.StatusServiceUnavailable, "unavailable", "", "the orders cannot be read at the moment; try again"))
		return
	}

	host := (&url.URL{Host: r.Host}).Hostname()
	writeShopJSON(w, map[string]any{
		"socket":  strings.Replace(s.demo.socketURL, "127.0.0.1", host, 1),
		"account": demoUser,
		"menu":    shopMenu,
		"orders":  orders,
	})
}

// listOrders returns the open orders, the oldest first.
func (s *shop) listOrders(ctx context.Context) ([]shopOrder, error) {
	escrows, _, err := s.demo.ledger.Escrows(ctx, demoUser, wallet.StatusHeld, wallet.Page{})
	if err != nil {
		return nil, err
	}

	orders := []shopOrder{}
	for _, escrow := range escrows {
		item, isOrder := strings.CutPrefix(escrow.QueueItemID, shopQueuePrefix)
		if !isOrder || len(orders) == maxShopOrders {
			continue
		}
		orders = append(orders, shopOrder{ID: escrow.ID.String(), Item: item, Amount: escrow.Amount})
	}
	slices.Reverse(orders)
	return orders, nil
}

// placeOrder holds the price of an item. The body is {"item": ID}.
func (s *shop) placeOrder(w http.ResponseWriter, r *http.Request) {
	var order struct {
		Item string `json:"item"`
	}
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxShopBody)).Decode(&order)
	if err != nil {
		problem.Write(w, problem.New(http.StatusBadRequest, "bad_request", "", `the body must be {"item": …}`))
		return
	}
	for _, item := range shopMenu {
		if item.ID != order.Item {
			continue
		}
		s.callLedger(w, r, "/v1/accounts/"+string(demoUser)+"/holds", map[string]any{
			"amount":      item.Price,
			"reason":      "chip_menu_purchase",
			"queueItemId": shopQueuePrefix + item.ID,
			"featureType": "chip_menu",
		})
		return
	}
	problem.Write(w, problem.New(http.StatusNotFound, "item_not_found", "", "the item must be on the menu of GET /demo/shop"))
}

// finishOrder settles an order's escrow: model:demo earns the points.
func (s *shop) finishOrder(w http.ResponseWriter, r *http.Request) {
	s.closeOrder(w, r, "settle", map[string]any{"modelId": demoModel, "reason": "performance_completed"})
}

// cancelOrder refunds an order's escrow: the points are available again.
func (s *shop) cancelOrder(w http.ResponseWriter, r *http.Request) {
	s.closeOrder(w, r, "refund", map[string]any{"reason": "user_cancelled"})
}

func (s *shop) closeOrder(w http.ResponseWriter, r *http.Request, call string, body map[string]any) {
	escrow, err := s.findOrder(r.Context(), r.PathValue("id"))
	switch {
	case errors.Is(err, wallet.ErrEscrowNotFound):
		problem.Write(w, problem.New(http.StatusNotFound, "order_not_found", "", "there is no order with this id"))
		return
	case err != nil:
		problem.Write(w, problem.New(http.StatusServiceUnavailable, "unavailable", "", "the order cannot be read at the moment; try again"))
		return
	}

	body["amount"] = escrow.Amount
	body["queueItemId"] = escrow.QueueItemID
	s.callLedger(w, r, "/v1/escrows/"+escrow.ID.String()+"/"+call, body)
}

// findOrder returns the escrow of an order, or wallet.ErrEscrowNotFound.
func (s *shop) findOrder(ctx context.Context, id string) (wallet.Escrow, error) {
	parsed, err := uuid.Parse(id)
	if err != nil {
		return wallet.Escrow{}, wallet.ErrEscrowNotFound
	}
	escrow, err := s.demo.ledger.Escrow(ctx, parsed)
	if err == nil && (escrow.User != demoUser || !strings.HasPrefix(escrow.QueueItemID, shopQueuePrefix)) {
		return wallet.Escrow{}, wallet.ErrEscrowNotFound
	}
	return escrow, err
}

func (s *shop) topUp(w http.ResponseWriter, r *http.Request) {
	s.callLedger(w, r, "/v1/accounts/"+string(demoUser)+"/credits", map[string]any{
		"amount": shopTopUp,
		"reason": "promotional_award",
	})
}

// callLedger makes a request to the core's HTTP API with the service token and passes its answer on.
// The app's Idempotency-Key makes its retries safe.
func (s *shop) callLedger(w http.ResponseWriter, r *http.Request, path string, body map[string]any) {
	raw, err := json.Marshal(body)
	if err != nil {
		problem.Write(w, problem.New(http.StatusInternalServerError, "internal_error", "", ""))
		return
	}

	call := r.Clone(r.Context())
	call.URL = &url.URL{Path: path}
	call.Body = io.NopCloser(bytes.NewReader(raw))
	call.ContentLength = int64(len(raw))
	call.Header = http.Header{
		"Authorization": {"Bearer " + s.demo.serviceToken},
		"Content-Type":  {"application/json"},
	}
	if key := r.Header.Values("Idempotency-Key"); len(key) > 0 {
		call.Header["Idempotency-Key"] = key
	}
	s.api.ServeHTTP(w, call)
}

func writeShopJSON(w http.ResponseWriter, v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		problem.Write(w, problem.New(http.StatusInternalServerError, "internal_error", "", ""))
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(append(raw, '\n')) // an error means that the client has disconnected
}

// isLoopbackOrigin reports whether the origin is a web page that this machine serves.
func isLoopbackOrigin(from string) bool {
	u, err := url.Parse(from)
	if err != nil {
		return false
	}
	switch u.Hostname() {
	case "localhost", "127.0.0.1", "::1":
		return u.Scheme == "http" || u.Scheme == "https"
	}
	return false
}
