package main

import (
	"net/netip"
	"slices"

	"go4.org/netipx"
	"tailscale.com/net/packet"
	"tailscale.com/tailcfg"
	"tailscale.com/wgengine/filter"

	"interop.test/peers/lines"
)

var filterOperations = map[string]lines.Operation{
	"filter_new": lines.Op(filterNew), "filter_run": lines.Op(filterRun), "filter_caps": lines.Op(filterCaps),
	"filter_forget": lines.Op(filterForget),
}

var filters numbered[*filter.Filter]

// filterNew compiles rules. Share: the number of a filter whose flows it takes over.
func filterNew(r struct {
	Rules   []tailcfg.FilterRule
	Local   []netip.Prefix
	Caps    map[netip.Addr][]tailcfg.NodeCapability
	Shields bool
	Share   int
}) (map[string]any, error) {
	matches, err := filter.MatchesFromFilterRules(r.Rules)
	unreadable := ""
	if err != nil { // what could be read still counts
		unreadable = err.Error()
	}
	var local netipx.IPSetBuilder
	for _, prefix := range r.Local {
		local.AddPrefix(prefix)
	}
	addresses, err := local.IPSet()
	if err != nil {
		return nil, err
	}
	var shared *filter.Filter
	if r.Share != 0 {
		if shared, err = filters.get(r.Share); err != nil {
			return nil, err
		}
	}
	has := func(address netip.Addr, cap tailcfg.NodeCapability) bool {
		return slices.Contains(r.Caps[address], cap)
	}
	made := filter.New(matches, has, addresses, new(netipx.IPSet), shared, quiet)
	if r.Shields {
		made = filter.NewShieldsUpFilter(addresses, new(netipx.IPSet), shared, quiet)
	}
	return map[string]any{"filter": filters.add(made), "error": unreadable}, nil
}

// filterRun judges packets in order: does each pass?
func filterRun(r struct {
	Filter int
	Steps  []struct {
		Out    bool
		Packet []byte
	}
}) ([]bool, error) {
	f, err := filters.get(r.Filter)
	if err != nil {
		return nil, err
	}
	verdicts := make([]bool, len(r.Steps))
	for i, step := range r.Steps {
		var parsed packet.Parsed
		parsed.Decode(step.Packet)
		response := filter.Accept
		if step.Out {
			response, _ = f.RunOut(&parsed, 0)
		} else {
			response = f.RunIn(&parsed, 0)
		}
		verdicts[i] = response == filter.Accept
	}
	return verdicts, nil
}

func filterCaps(r struct {
	Filter              int
	Source, Destination netip.Addr
}) (tailcfg.PeerCapMap, error) {
	f, err := filters.get(r.Filter)
	if err != nil {
		return nil, err
	}
	return f.CapsWithValues(r.Source, r.Destination), nil
}

func filterForget(r struct{ Filter int }) (lines.None, error) {
	filters.forget(r.Filter)
	return lines.None{}, nil
}
