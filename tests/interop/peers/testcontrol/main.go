// Command testcontrol serves Tailscale's own control server for tests and is driven by JSON lines.
//
// It lives in August 2020 (its ControlTime), gives 100.64.x.y by node number, and forgets all at its end.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"

	"tailscale.com/tailcfg"
	"tailscale.com/tstest/integration/testcontrol"
	"tailscale.com/types/key"
	"tailscale.com/types/opt"

	"interop.test/peers/lines"
)

type control struct{ *testcontrol.Server }

// settings are fields of testcontrol.Server that are data; as JSON, under their own names.
type settings struct {
	RequireMachineAuth, PeerRelayGrants bool
	TagOwners                           map[string][]string
	DefaultNodeCapabilities             *tailcfg.NodeCapMap
	CollectServices                     opt.Bool
}

func main() {
	address := flag.String("addr", "127.0.0.1:8080", "where to serve plain HTTP")
	derpMap := flag.String("derpmap", "", "JSON file of a tailcfg.DERPMap (needed: with none, Go never runs)")
	domain := flag.String("domain", "lab.example", "MagicDNS domain")
	requireAuth := flag.Bool("require-auth", false, "send new nodes to an auth URL")
	requireKey := flag.String("require-authkey", "", "the only auth key that is taken")
	sameUser := flag.Bool("same-user", false, "all nodes belong to one user")
	online := flag.Bool("all-online", true, "say of each peer that it is online")
	more := flag.String("settings", "{}", "JSON of more fields of testcontrol.Server")
	verbose := flag.Bool("verbose", false, "log to stderr")
	flag.Parse()

	server, err := newServer(*address, *derpMap)
	if err != nil {
		log.Fatal(err)
	}
	server.MagicDNSDomain, server.DNSConfig = *domain, &tailcfg.DNSConfig{Proxied: true, Domains: []string{*domain}}
	server.RequireAuth, server.RequireAuthKey = *requireAuth, *requireKey
	server.AllNodesSameUser, server.AllOnline, server.Verbose = *sameUser, *online, *verbose
	if *verbose {
		server.Logf = log.Printf
	}
	if err := apply(*more, server); err != nil {
		log.Fatal(err)
	}
	asked := new(hooks)
	asked.install(server)
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		log.Fatal(err)
	}
	front := http.NewServeMux()
	front.Handle("/", server)
	front.HandleFunc("/told/", asked.tell)
	go http.Serve(listener, front)
	operations := control{server}.operations()
	maps.Copy(operations, asked.operations())
	if err := lines.Serve(operations); err != nil {
		log.Fatal(err)
	}
}

func newServer(address, derpMapFile string) (*testcontrol.Server, error) {
	text, err := os.ReadFile(derpMapFile)
	if err != nil {
		return nil, err
	}
	derpMap := new(tailcfg.DERPMap)
	if err := json.Unmarshal(text, derpMap); err != nil {
		return nil, fmt.Errorf("%s: %w", derpMapFile, err)
	}
	url := "http://" + address
	return &testcontrol.Server{
		Logf: func(string, ...any) {}, DERPMap: derpMap,
		ExplicitBaseURL: url, HTTPTestServer: &httptest.Server{URL: url},
	}, nil
}

func apply(text string, server *testcontrol.Server) error {
	var more settings
	if err := json.Unmarshal([]byte(text), &more); err != nil {
		return fmt.Errorf("-settings: %w", err)
	}
	server.RequireMachineAuth, server.PeerRelayGrants = more.RequireMachineAuth, more.PeerRelayGrants
	server.TagOwners, server.CollectServices = more.TagOwners, more.CollectServices
	server.DefaultNodeCapabilities = more.DefaultNodeCapabilities
	return nil
}

func (c control) operations() map[string]lines.Operation {
	return map[string]lines.Operation{
		"nodes": lines.Op(c.nodes), "polls": lines.Op(c.polls), "await": lines.Op(c.await),
		"expire_all": lines.Op(c.expireAll), "update": lines.Op(c.update), "fake_node": lines.Op(c.fakeNode),
		"complete_auth": lines.Op(c.completeAuth), "raw_map": lines.Op(c.rawMap), "ping": lines.Op(c.ping),
		"routes": lines.Op(c.routes), "dns_records": lines.Op(c.dnsRecords), "app_caps": lines.Op(c.appCaps),
		"approve": lines.Op(c.approve), "c2n": lines.Op(c.c2n), "node_caps": lines.Op(c.nodeCaps),
		"jail": lines.Op(c.jail), "unsigned": lines.Op(c.unsigned),
		"ssh_policy": lines.Op(c.sshPolicy), "count": lines.Op(c.count), "knobs": lines.Op(c.knobs),
	}
}

func (c control) nodes(lines.None) ([]*tailcfg.Node, error) { return c.AllNodes(), nil }

// polls is how many map streams are open.
func (c control) polls(lines.None) (int, error) { return c.InServeMap(), nil }

// await returns when the node is in a map poll.
func (c control) await(r struct{ Node key.NodePublic }) (lines.None, error) {
	ctx, cancel := deadline()
	defer cancel()
	return lines.None{}, c.AwaitNodeInMapRequest(ctx, r.Node)
}

func (c control) expireAll(r struct{ Expired bool }) (lines.None, error) {
	c.SetExpireAllNodes(r.Expired)
	return lines.None{}, nil
}

// update changes fields of one node (given as tailcfg.Node JSON) and tells everybody.
func (c control) update(r struct {
	Node   key.NodePublic
	Fields json.RawMessage
}) (*tailcfg.Node, error) {
	node := c.Node(r.Node)
	if node == nil {
		return nil, fmt.Errorf("no node %v", r.Node)
	}
	if err := json.Unmarshal(r.Fields, node); err != nil {
		return nil, err
	}
	c.UpdateNode(node)
	return node, nil
}

// fakeNode adds a node that nobody runs, and tells everybody.
func (c control) fakeNode(lines.None) (*tailcfg.Node, error) {
	known := map[key.NodePublic]bool{}
	for _, node := range c.AllNodes() {
		known[node.Key] = true
	}
	c.AddFakeNode()
	for _, node := range c.AllNodes() {
		if !known[node.Key] {
			node.Name = fmt.Sprintf("fake-%s.%s.", strings.ToLower(string(node.StableID)), c.MagicDNSDomain)
			c.UpdateNode(node)
			return node, nil
		}
	}
	return nil, fmt.Errorf("no new node")
}

func (c control) completeAuth(r struct{ URL string }) (bool, error) {
	return c.CompleteAuth(r.URL), nil
}

// rawMap sends one MapResponse as it is; from then on the node gets only such ones.
func (c control) rawMap(r struct {
	Node key.NodePublic
	Map  *tailcfg.MapResponse
}) (bool, error) {
	return c.AddRawMapResponse(r.Node, r.Map), nil
}

func (c control) ping(r struct {
	Node key.NodePublic
	Ping *tailcfg.PingRequest
}) (bool, error) {
	return c.AddPingRequest(r.Node, r.Ping), nil
}

func (c control) routes(r struct {
	Node   key.NodePublic
	Routes []netip.Prefix
}) (lines.None, error) {
	c.SetSubnetRoutes(r.Node, r.Routes)
	return lines.None{}, nil
}

func (c control) dnsRecords(r struct{ Records []tailcfg.DNSRecord }) (lines.None, error) {
	c.AddDNSRecords(r.Records...)
	return lines.None{}, nil
}

func (c control) appCaps(r struct{ Caps tailcfg.PeerCapMap }) (lines.None, error) {
	c.SetGlobalAppCaps(r.Caps)
	return lines.None{}, nil
}
