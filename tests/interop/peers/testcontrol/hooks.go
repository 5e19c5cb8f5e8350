package main

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"tailscale.com/tailcfg"
	"tailscale.com/tstest/integration/testcontrol"
	"tailscale.com/types/key"

	"interop.test/peers/lines"
)

// hooks are what testcontrol asks before it goes on; tests change them while it runs.
type hooks struct {
	mu         sync.Mutex
	rejections []rejection
	registers  []float64
	firstMap   json.RawMessage
	heldMaps   chan struct{}
	requests   map[key.NodePublic]int
	records    []*tailcfg.SetDNSRequest
	dnsError   string
	told       []told
}

// told is a request to /told/…, which is ours and not testcontrol's: where PingRequests have their results sent.
type told struct{ Method, Path, Body string }

// rejection is one HTTP 429 to a registration.
type rejection struct {
	RetryAfter string
	Text       string
}

// install is called before the server serves: its fields are not to be written afterwards.
func (h *hooks) install(server *testcontrol.Server) {
	h.requests = map[key.NodePublic]int{}
	server.MaybeRateLimitRegister = h.register
	server.ModifyFirstMapResponse = h.modify
	server.HoldMapRequest = h.hold
	server.OnSetDNS = h.setDNS
	server.SetOnMapRequest(h.mapRequested)
}

func (h *hooks) register() (bool, string, string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.registers = append(h.registers, float64(time.Now().UnixMilli())/1000)
	if len(h.rejections) == 0 {
		return false, "", ""
	}
	next := h.rejections[0]
	h.rejections = h.rejections[1:]
	return true, next.RetryAfter, next.Text
}

func (h *hooks) modify(response *tailcfg.MapResponse, _ *tailcfg.MapRequest) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.firstMap) > 0 {
		json.Unmarshal(h.firstMap, response) // what it does not name stays
	}
}

func (h *hooks) hold(*tailcfg.MapRequest) func() {
	h.mu.Lock()
	held := h.heldMaps
	h.mu.Unlock()
	if held != nil {
		<-held
	}
	return nil
}

func (h *hooks) mapRequested(node key.NodePublic) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.requests[node]++
}

func (h *hooks) setDNS(request *tailcfg.SetDNSRequest) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.dnsError != "" {
		return errors.New(h.dnsError)
	}
	h.records = append(h.records, request)
	return nil
}

func (h *hooks) tell(_ http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	h.mu.Lock()
	defer h.mu.Unlock()
	h.told = append(h.told, told{r.Method, r.URL.Path, string(body)})
}

// operations: rate_limit rejects the next registrations; registers is when each came, in Unix time; first_map is merged
// into the first message of each map stream; hold_maps lets map requests wait until it is called with false.
func (h *hooks) operations() map[string]lines.Operation {
	return map[string]lines.Operation{
		"rate_limit": locked(h, func(r struct{ Rejections []rejection }) any { h.rejections = r.Rejections; return nil }),
		"registers":  locked(h, func(lines.None) any { return append([]float64{}, h.registers...) }),
		"first_map":  locked(h, func(r struct{ Fields json.RawMessage }) any { h.firstMap = r.Fields; return nil }),
		"hold_maps":  locked(h, func(r struct{ Held bool }) any { h.holdMaps(r.Held); return nil }),
		"map_requests": locked(h, func(r struct{ Node key.NodePublic }) any {
			return h.requests[r.Node]
		}),
		"dns_requests": locked(h, func(lines.None) any { return h.records }),
		"told":         locked(h, func(lines.None) any { return append([]told{}, h.told...) }),
		"dns_error":    locked(h, func(r struct{ Text string }) any { h.dnsError = r.Text; return nil }),
	}
}

func (h *hooks) holdMaps(held bool) {
	if h.heldMaps != nil {
		close(h.heldMaps)
		h.heldMaps = nil
	}
	if held {
		h.heldMaps = make(chan struct{})
	}
}

func locked[Request any](h *hooks, run func(Request) any) lines.Operation {
	return lines.Op(func(r Request) (any, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		return run(r), nil
	})
}
