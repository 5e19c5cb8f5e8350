// Command tsnetpeer is one Go tsnet node, driven by JSON lines (package lines).
//
//	main.go     flags, the node, and what is asked of the node itself
//	packets.go  UDP: one exchange, and an echo server
//	web.go      HTTP: one request, and a server that tells who called
//	../streams  TCP: dial, send, fetch, rtt, connections, listeners that echo, swallow or speak
//
// The node's log goes to stderr with --verbose. Nothing here decides what is right:
// tests do.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"tailscale.com/client/local"
	_ "tailscale.com/feature/identityfederation"
	"tailscale.com/ipn/ipnstate"
	"tailscale.com/tailcfg"
	"tailscale.com/tsnet"

	"interop.test/peers/lines"
	"interop.test/peers/streams"
)

// peer is the node.
type peer struct{ server *tsnet.Server }

func main() {
	dir := flag.String("dir", "", "state directory (needed)")
	hostname := flag.String("hostname", "gopeer", "host name to ask for")
	control := flag.String("control", "", "control URL (needed)")
	authKey := flag.String("authkey", "", "auth key; without one an auth URL appears in status")
	clientSecret := flag.String("client-secret", "", "OAuth client secret, in the place of an auth key")
	clientID := flag.String("client-id", "", "client ID of a workload identity; with --id-token or --audience")
	idToken := flag.String("id-token", "", "ID token for --client-id")
	audience := flag.String("audience", "", "audience of the ID token that the machine's provider is asked for")
	ephemeral := flag.Bool("ephemeral", false, "register as an ephemeral node")
	tags := flag.String("tags", "", "comma separated tags to ask for")
	port := flag.Int("port", 0, "UDP port; 0 lets the system choose")
	verbose := flag.Bool("verbose", false, "log everything to stderr")
	flag.Parse()
	if *dir == "" || *control == "" {
		log.Fatal("--dir and --control are needed")
	}

	server := &tsnet.Server{
		Dir: *dir, Hostname: *hostname, ControlURL: *control, AuthKey: *authKey,
		ClientSecret: *clientSecret, ClientID: *clientID, IDToken: *idToken, Audience: *audience,
		Ephemeral: *ephemeral, Port: uint16(*port), UserLogf: func(string, ...any) {},
	}
	if *tags != "" {
		server.AdvertiseTags = strings.Split(*tags, ",")
	}
	if *verbose {
		log.SetFlags(log.Ltime | log.Lmicroseconds)
		server.Logf, server.UserLogf = log.Printf, log.Printf
	}
	p := &peer{server: server}
	if err := lines.Serve(p.operations()); err != nil {
		log.Fatal(err)
	}
	p.server.Close()
}

func (p *peer) operations() map[string]lines.Operation {
	operations := map[string]lines.Operation{
		"start": lines.Op(p.start), "up": lines.Op(p.up), "logout": lines.Op(p.logout), "quit": lines.Op(p.quit),
		"status": lines.Op(p.status), "whois": lines.Op(p.whois), "ping": lines.Op(p.ping), "local": lines.Op(p.local),
		"udp": lines.Op(p.udp), "udp_listen": lines.Op(p.udpListen),
		"get": lines.Op(p.get), "http": lines.Op(p.http),
	}
	maps.Copy(operations, streams.New(p.server).Operations())
	return operations
}

type (
	waiting   = streams.Waiting
	addressed = streams.Addressed
)

// self is what control granted.
type self struct {
	Name      string       `json:"name"`
	Addresses []netip.Addr `json:"addresses"`
	Key       string       `json:"key"`
	Seconds   float64      `json:"seconds"`
}

func (p *peer) start(lines.None) (lines.None, error) { return lines.None{}, p.server.Start() }

func (p *peer) up(r waiting) (*self, error) {
	ctx, cancel := r.Context()
	defer cancel()
	start := time.Now()
	status, err := p.server.Up(ctx)
	if err != nil {
		return nil, err
	}
	return &self{
		Name: strings.TrimSuffix(status.Self.DNSName, "."), Addresses: status.TailscaleIPs,
		Key: status.Self.PublicKey.String(), Seconds: time.Since(start).Seconds(),
	}, nil
}

func (p *peer) client() (*local.Client, error) { return p.server.LocalClient() }

func (p *peer) logout(r waiting) (lines.None, error) {
	ctx, cancel := r.Context()
	defer cancel()
	client, err := p.client()
	if err != nil {
		return lines.None{}, err
	}
	return lines.None{}, client.Logout(ctx)
}

// quit closes the node the orderly way; the answer is sent before the program ends.
func (p *peer) quit(lines.None) (lines.None, error) {
	err := p.server.Close()
	time.AfterFunc(20*time.Millisecond, func() { os.Exit(0) })
	return lines.None{}, err
}

func (p *peer) status(r waiting) (*ipnstate.Status, error) {
	ctx, cancel := r.Context()
	defer cancel()
	client, err := p.client()
	if err != nil {
		return nil, err
	}
	return client.Status(ctx)
}

type caller struct {
	Name string   `json:"name"`
	User string   `json:"user"`
	Tags []string `json:"tags"`
	Key  string   `json:"key"`
	Caps any      `json:"caps,omitempty"`
}

func (p *peer) whois(r addressed) (*caller, error) {
	ctx, cancel := r.Context()
	defer cancel()
	client, err := p.client()
	if err != nil {
		return nil, err
	}
	who, err := client.WhoIs(ctx, r.Address)
	if err != nil {
		return nil, err
	}
	return &caller{
		Name: strings.TrimSuffix(who.Node.Name, "."), User: who.UserProfile.LoginName,
		Tags: who.Node.Tags, Key: who.Node.Key.String(), Caps: who.CapMap,
	}, nil
}

func (p *peer) ping(r struct {
	addressed
	Kind string // disco, TSMP, ICMP, peerapi
	Size int
}) (*ipnstate.PingResult, error) {
	ctx, cancel := r.Context()
	defer cancel()
	client, err := p.client()
	if err != nil {
		return nil, err
	}
	address, err := netip.ParseAddr(r.Address)
	if err != nil {
		return nil, err
	}
	result, err := client.PingWithOpts(ctx, address, tailcfg.PingType(r.Kind), local.PingOpts{Size: r.Size})
	if err == nil && result.Err != "" {
		err = errors.New(result.Err)
	}
	return result, err
}

// local is any request to the node's LocalAPI: prefs, the netmap's debug views, metrics.
func (p *peer) local(r struct {
	waiting
	Method, Path, Body string
}) (any, error) {
	ctx, cancel := r.Context()
	defer cancel()
	client, err := p.client()
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, r.Method, "http://local-tailscaled.sock/localapi/v0/"+r.Path, strings.NewReader(r.Body))
	if err != nil {
		return nil, err
	}
	response, err := client.DoLocalRequest(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode >= 300 {
		return nil, fmt.Errorf("%s: %s", response.Status, body)
	}
	if json.Valid(body) {
		return json.RawMessage(body), nil
	}
	return string(body), nil
}
