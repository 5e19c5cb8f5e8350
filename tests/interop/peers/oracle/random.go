package main

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"time"

	"go4.org/mem"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
	"tailscale.com/types/opt"
)

const deepest = 7 // below it, only what cannot nest is filled

// maker fills values of any type of tailcfg, about half of the fields of each struct.
type maker struct{ *rand.Rand }

// special makes what reflection cannot, or what has a form of its own.
var special map[reflect.Type]func(maker) any

func init() { // not at its declaration: a view is made of a struct, whose fields may be special
	special = map[reflect.Type]func(maker) any{
		reflect.TypeFor[key.NodePublic]():         func(m maker) any { return key.NodePublicFromRaw32(mem.B(m.raw(32))) },
		reflect.TypeFor[key.MachinePublic]():      func(m maker) any { return key.MachinePublicFromRaw32(mem.B(m.raw(32))) },
		reflect.TypeFor[key.DiscoPublic]():        func(m maker) any { return key.DiscoPublicFromRaw32(mem.B(m.raw(32))) },
		reflect.TypeFor[key.NLPublic]():           func(m maker) any { return key.NLPublicFromEd25519Unsafe(m.raw(32)) },
		reflect.TypeFor[key.ChallengePublic]():    func(m maker) any { return m.challenge() },
		reflect.TypeFor[netip.Addr]():             func(m maker) any { return m.address() },
		reflect.TypeFor[netip.AddrPort]():         func(m maker) any { return netip.AddrPortFrom(m.address(), uint16(m.Uint32())) },
		reflect.TypeFor[netip.Prefix]():           func(m maker) any { return m.prefix() },
		reflect.TypeFor[time.Time]():              func(m maker) any { return time.Unix(1.7e9+m.Int64N(1e8), 0).UTC() },
		reflect.TypeFor[tailcfg.PortRange]():      func(m maker) any { return m.ports() },
		reflect.TypeFor[tailcfg.RawMessage]():     func(m maker) any { return tailcfg.RawMessage(m.json()) },
		reflect.TypeFor[tailcfg.HostinfoView]():   func(m maker) any { return m.hostinfo().View() },
		reflect.TypeFor[opt.Bool]():               func(m maker) any { return opt.NewBool(m.IntN(2) == 0) },
		reflect.TypeFor[tailcfg.NodeCapability](): func(m maker) any { return tailcfg.NodeCapability("cap-" + m.word()) },
	}
}

func (m maker) raw(n int) []byte {
	raw := make([]byte, n)
	for i := range raw {
		raw[i] = byte(m.Uint32())
	}
	raw[0] |= 1 // never the zero key
	return raw
}

func (m maker) challenge() (k key.ChallengePublic) {
	if err := k.UnmarshalText(fmt.Appendf(nil, "chalpub:%x", m.raw(32))); err != nil {
		panic(err)
	}
	return k
}

func (m maker) address() netip.Addr {
	if m.IntN(2) == 0 {
		return netip.AddrFrom4([4]byte(m.raw(4)))
	}
	return netip.AddrFrom16([16]byte(m.raw(16)))
}

func (m maker) prefix() netip.Prefix {
	address := m.address()
	bits := address.BitLen()
	if m.IntN(2) == 0 {
		bits = m.IntN(bits + 1)
	}
	return netip.PrefixFrom(address, bits).Masked()
}

func (m maker) ports() tailcfg.PortRange {
	first := m.IntN(65536)
	return tailcfg.PortRange{First: uint16(first), Last: uint16(first + m.IntN(65536-first))}
}

func (m maker) word() string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789-"
	var word strings.Builder
	word.WriteByte('w')
	for range m.IntN(10) {
		word.WriteByte(letters[m.IntN(len(letters))])
	}
	if m.IntN(8) == 0 {
		word.WriteString("é\"<\u2028☃")
	}
	return word.String()
}

func (m maker) json() string {
	return []string{`null`, `1`, `"text"`, `{"k":[1,true,null]}`, `[]`}[m.IntN(5)]
}

func (m maker) hostinfo() *tailcfg.Hostinfo {
	info := new(tailcfg.Hostinfo)
	m.fill(reflect.ValueOf(info).Elem(), deepest-2)
	return info
}

func (m maker) fill(v reflect.Value, depth int) {
	if make := special[v.Type()]; make != nil {
		v.Set(reflect.ValueOf(make(m)))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(m.IntN(2) == 0)
	case reflect.String:
		v.SetString(m.word())
	case reflect.Int, reflect.Int64:
		v.SetInt(1 + m.Int64N(1<<40))
	case reflect.Int8, reflect.Int16, reflect.Int32:
		v.SetInt(1 + m.Int64N(100))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(1 + m.Uint64N(100))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(float64(m.IntN(1000)) / 8)
	case reflect.Pointer:
		if depth < deepest {
			v.Set(reflect.New(v.Type().Elem()))
			m.fill(v.Elem(), depth+1)
		}
	case reflect.Slice:
		m.fillSlice(v, depth)
	case reflect.Map:
		m.fillMap(v, depth)
	case reflect.Struct:
		m.fillStruct(v, depth)
	}
}

func (m maker) fillSlice(v reflect.Value, depth int) {
	if depth+1 >= deepest { // else a list of pointers would be one of nulls
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), m.IntN(4), 4))
	for i := range v.Len() {
		m.fill(v.Index(i), depth+1)
	}
}

func (m maker) fillMap(v reflect.Value, depth int) {
	v.Set(reflect.MakeMap(v.Type()))
	for range m.IntN(4) {
		name, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		m.fill(name, depth+1)
		if depth < deepest {
			m.fill(value, depth+1)
		}
		v.SetMapIndex(name, value)
	}
}

func (m maker) fillStruct(v reflect.Value, depth int) {
	for i := range v.NumField() {
		if field := v.Type().Field(i); field.IsExported() && m.IntN(2) == 0 {
			m.fill(v.Field(i), depth+1)
		}
	}
	m.agree(v)
}

// agree repairs what control would never send: a node without its names, a region under another's number.
func (m maker) agree(v reflect.Value) {
	switch value := v.Addr().Interface().(type) {
	case *tailcfg.Node:
		value.ID = tailcfg.NodeID(1 + m.Int64N(1<<40))
		value.Key = key.NodePublicFromRaw32(mem.B(m.raw(32)))
		value.Name = m.word() + ".lab.example."
		value.LegacyDERPString = ""
		if value.HomeDERP != 0 {
			value.LegacyDERPString = fmt.Sprintf("127.3.3.40:%d", value.HomeDERP)
		}
		if value.AllowedIPs == nil {
			value.AllowedIPs = value.Addresses
		}
	case *tailcfg.PeerChange:
		value.NodeID = tailcfg.NodeID(1 + m.Int64N(1<<40))
	case *tailcfg.DERPMap:
		for number, region := range value.Regions {
			if region == nil {
				delete(value.Regions, number)
				continue
			}
			region.RegionID = number
			for _, node := range region.Nodes {
				node.RegionID = number
			}
		}
	}
}
