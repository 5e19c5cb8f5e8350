package main

import (
	"encoding"
	"encoding/hex"
	"fmt"

	"go4.org/mem"
	"tailscale.com/types/key"

	"interop.test/peers/lines"
)

var keyOperations = map[string]lines.Operation{
	"key_public": lines.Op(keyPublic), "key_private": lines.Op(keyPrivate),
	"box_seal": lines.Op(boxSeal), "box_open": lines.Op(boxOpen),
}

type keyText struct {
	Kind string // node, machine, disco, challenge, lock
	Text string
}

// keyPublic parses a public key's text and writes it again.
func keyPublic(r keyText) (map[string]string, error) {
	var parsed interface {
		encoding.TextUnmarshaler
		encoding.TextMarshaler
	}
	switch r.Kind {
	case "node":
		parsed = new(key.NodePublic)
	case "machine":
		parsed = new(key.MachinePublic)
	case "disco":
		parsed = new(key.DiscoPublic)
	case "challenge":
		parsed = new(key.ChallengePublic)
	case "lock":
		parsed = new(key.NLPublic)
	default:
		return nil, fmt.Errorf("no kind %q", r.Kind)
	}
	if err := parsed.UnmarshalText([]byte(r.Text)); err != nil {
		return nil, err
	}
	text, err := parsed.MarshalText()
	return map[string]string{"text": string(text)}, err
}

// keyPrivate takes 32 raw bytes (64 for lock) and tells the private text and the public text.
func keyPrivate(r struct {
	Kind string
	Raw  []byte
}) (map[string]string, error) {
	var private, public encoding.TextMarshaler
	switch r.Kind {
	case "node":
		k := key.NodePrivateFromRaw32(mem.B(r.Raw))
		private, public = k, k.Public()
	case "machine":
		var k key.MachinePrivate
		if err := k.UnmarshalText([]byte("privkey:" + hex.EncodeToString(r.Raw))); err != nil {
			return nil, err
		}
		private, public = k, k.Public()
	case "lock":
		var k key.NLPrivate
		if err := k.UnmarshalText([]byte("nlpriv:" + hex.EncodeToString(r.Raw))); err != nil {
			return nil, err
		}
		private, public = k, k.Public()
	case "disco": // has no private text
		public = key.DiscoPrivateFromRaw32(mem.B(r.Raw)).Public()
	default:
		return nil, fmt.Errorf("no kind %q", r.Kind)
	}
	texts := map[string]string{}
	for name, half := range map[string]encoding.TextMarshaler{"private": private, "public": public} {
		if half == nil {
			continue
		}
		text, err := half.MarshalText()
		if err != nil {
			return nil, err
		}
		texts[name] = string(text)
	}
	return texts, nil
}

// boxed is a NaCl box between two disco keys, nonce first, as disco and DERP use it.
type boxed struct {
	Private []byte
	Public  key.DiscoPublic
	Data    []byte
}

func boxSeal(r boxed) (*data, error) {
	return &data{key.DiscoPrivateFromRaw32(mem.B(r.Private)).Shared(r.Public).Seal(r.Data)}, nil
}

func boxOpen(r boxed) (*data, error) {
	opened, ok := key.DiscoPrivateFromRaw32(mem.B(r.Private)).Shared(r.Public).Open(r.Data)
	if !ok {
		return nil, fmt.Errorf("the box does not open")
	}
	return &data{opened}, nil
}
