// Command oracle asks Tailscale's own packages: JSON lines in, JSON lines out (package lines).
//
//	keys.go          types/key            text forms, public halves, boxes
//	noise.go         control/controlbase  both sides of ts2021 over bytes given and taken
//	derp.go          derp, derpserver     frames; a server and a client over bytes given and taken
//	stun.go          net/stun             both sides of a binding
//	disco.go         disco                what a message says, and says again
//	tailcfg.go       tailcfg              decode, compare field by field; random.go makes values
//	packetfilter.go  wgengine/filter      verdicts on sequences of packets
//	names.go         util/dnsname         labels of host names; x/net's proxies of the environment
//
// Bytes are base64, keys and addresses are Tailscale's texts. Nothing here has an opinion of its own.
package main

import (
	"fmt"
	"log"
	"maps"
	"sync"

	"interop.test/peers/lines"
)

func main() {
	operations := map[string]lines.Operation{}
	for _, room := range []map[string]lines.Operation{
		keyOperations, noiseOperations, derpOperations, stunOperations,
		discoOperations, tailcfgOperations, filterOperations, nameOperations,
	} {
		maps.Copy(operations, room)
	}
	if err := lines.Serve(operations); err != nil {
		log.Fatal(err)
	}
}

// numbered keeps what later requests speak of.
type numbered[T any] struct {
	mu   sync.Mutex
	last int
	all  map[int]T
}

func (n *numbered[T]) add(value T) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.all == nil {
		n.all = map[int]T{}
	}
	n.last++
	n.all[n.last] = value
	return n.last
}

func (n *numbered[T]) get(number int) (T, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	value, ok := n.all[number]
	if !ok {
		return value, fmt.Errorf("no %T with number %d", value, number)
	}
	return value, nil
}

func (n *numbered[T]) forget(number int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.all, number)
}

// data is bytes alone, as request or as result.
type data struct {
	Data []byte `json:"data"`
}
