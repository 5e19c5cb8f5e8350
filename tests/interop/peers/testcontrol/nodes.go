package main

import (
	"io"
	"net/http"
	"strings"

	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"interop.test/peers/lines"
)

// approve is what an admin does in the console for a node that waits for approval.
func (c control) approve(r struct{ Node key.NodePublic }) (bool, error) {
	return c.CompleteDeviceApproval(c.BaseURL(), c.BaseURL()+"/admin", &r.Node), nil
}

// c2n sends one HTTP request to a node, inside its map stream, and returns the answer.
func (c control) c2n(r struct {
	Node               key.NodePublic
	Method, Path, Body string
}) (map[string]any, error) {
	ctx, cancel := deadline()
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, r.Method, "http://node"+r.Path, strings.NewReader(r.Body))
	if err != nil {
		return nil, err
	}
	answer, err := c.NodeRoundTripper(r.Node).RoundTrip(request)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(answer.Body)
	return map[string]any{"status": answer.StatusCode, "body": string(body)}, err
}

// nodeCaps replaces the capabilities that one node is told to have.
func (c control) nodeCaps(r struct {
	Node key.NodePublic
	Caps tailcfg.NodeCapMap
}) (lines.None, error) {
	c.SetNodeCapMap(r.Node, r.Caps)
	return lines.None{}, nil
}

// jail: the node is told to let the peer open nothing.
func (c control) jail(r struct {
	Node, Peer key.NodePublic
	Jailed     bool
}) (lines.None, error) {
	c.SetJailed(r.Node, r.Peer, r.Jailed)
	return lines.None{}, nil
}

// unsigned: the others are told that the node may be spoken to by PeerAPI alone.
func (c control) unsigned(r struct {
	Node     key.NodePublic
	Unsigned bool
}) (lines.None, error) {
	c.SetUnsignedPeerAPIOnly(r.Node, r.Unsigned)
	return lines.None{}, nil
}

func (c control) sshPolicy(r struct{ Policy *tailcfg.SSHPolicy }) (lines.None, error) {
	c.SetSSHPolicy(r.Policy)
	return lines.None{}, nil
}

func (c control) count(lines.None) (int, error) { return c.NumNodes(), nil }
