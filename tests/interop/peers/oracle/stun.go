package main

import (
	"fmt"
	"net/netip"

	"tailscale.com/net/stun"

	"interop.test/peers/lines"
)

var stunOperations = map[string]lines.Operation{
	"stun_request": lines.Op(stunRequest), "stun_parse_request": lines.Op(stunParseRequest),
	"stun_response": lines.Op(stunResponse), "stun_parse_response": lines.Op(stunParseResponse), "stun_is": lines.Op(stunIs),
}

type binding struct {
	TxID    []byte         `json:"tx_id"`
	Address netip.AddrPort `json:"address"`
}

func (b binding) id() (id stun.TxID, err error) {
	if copy(id[:], b.TxID) != len(id) {
		err = fmt.Errorf("a TxID has %d bytes", len(id))
	}
	return id, err
}

func stunRequest(r struct {
	TxID []byte `json:"tx_id"`
}) (*data, error) {
	id, err := binding{TxID: r.TxID}.id()
	return &data{stun.Request(id)}, err
}

func stunParseRequest(r data) (map[string][]byte, error) {
	id, err := stun.ParseBindingRequest(r.Data)
	return map[string][]byte{"tx_id": id[:]}, err
}

func stunResponse(r binding) (*data, error) {
	id, err := r.id()
	return &data{stun.Response(id, r.Address)}, err
}

func stunParseResponse(r data) (*binding, error) {
	id, address, err := stun.ParseResponse(r.Data)
	return &binding{id[:], address}, err
}

func stunIs(r data) (bool, error) { return stun.Is(r.Data), nil }
