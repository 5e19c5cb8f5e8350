package main

import (
	"fmt"

	"tailscale.com/disco"

	"interop.test/peers/lines"
)

var discoOperations = map[string]lines.Operation{"disco_parse": lines.Op(discoParse)}

type discoMessage struct {
	Kind    string `json:"kind"`    // the Go type
	Summary string `json:"summary"` // as its log would say
	Data    []byte `json:"data"`    // marshalled again
}

// discoParse reads the inside of a box.
func discoParse(r data) (*discoMessage, error) {
	message, err := disco.Parse(r.Data)
	if err != nil {
		return nil, err
	}
	return &discoMessage{
		Kind: fmt.Sprintf("%T", message)[len("*disco."):], Summary: disco.MessageSummary(message),
		Data: message.AppendMarshal(nil),
	}, nil
}
