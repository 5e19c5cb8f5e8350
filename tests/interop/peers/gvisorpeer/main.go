// Command gvisorpeer is gVisor's TCP/IP alone, driven by JSON lines (package lines).
//
//	main.go     flags, the stack with the options that tsnet gives it, what is asked of the stack itself
//	wire.go     each IP packet is one UDP datagram to and from --wire
//	../streams  TCP: dial, send, fetch, rtt, connections, listeners that echo, swallow or speak
//
// Nothing here decides what is right: tests do.
package main

import (
	"context"
	"flag"
	"log"
	"maps"
	"net"
	"net/netip"
	"strings"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"interop.test/peers/lines"
	"interop.test/peers/streams"
)

const (
	nic       = 1
	queueSize = 4096
	maxBuffer = 8 << 20
)

func main() {
	wire := flag.String("wire", "", "UDP address of the other end; without one, it is who speaks first")
	addresses := flag.String("addresses", "", "own addresses, comma separated (needed)")
	mtu := flag.Uint("mtu", 1280, "of the wire")
	congestion := flag.String("congestion", "reno", "reno, as in tsnet, or cubic")
	flag.Parse()

	link := channel.New(queueSize, uint32(*mtu), "")
	s := newStack(link, *congestion, strings.Split(*addresses, ","))
	w, err := newWire(*wire, link)
	if err != nil {
		log.Fatal(err)
	}
	operations := map[string]lines.Operation{
		"wire":  lines.Op(func(lines.None) (string, error) { return w.conn.LocalAddr().String(), nil }),
		"stats": lines.Op(func(lines.None) (map[string]uint64, error) { return stats(s), nil }),
	}
	maps.Copy(operations, streams.New(host{s}).Operations())
	if err := lines.Serve(operations); err != nil {
		log.Fatal(err)
	}
}

func newStack(link stack.LinkEndpoint, congestion string, addresses []string) *stack.Stack {
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
	})
	control := tcpip.CongestionControlOption(congestion)
	sack, recovery := tcpip.TCPSACKEnabled(true), tcpip.TCPRecovery(0) // RACK is off in tsnet
	for _, option := range []tcpip.SettableTransportProtocolOption{
		&sack, &recovery, &control,
		&tcpip.TCPReceiveBufferSizeRangeOption{Min: tcp.MinBufferSize, Default: tcp.DefaultReceiveBufferSize, Max: maxBuffer},
		&tcpip.TCPSendBufferSizeRangeOption{Min: tcp.MinBufferSize, Default: tcp.DefaultSendBufferSize, Max: maxBuffer},
	} {
		must(s.SetTransportProtocolOption(tcp.ProtocolNumber, option))
	}
	must(s.CreateNIC(nic, link))
	for _, text := range addresses {
		must(s.AddProtocolAddress(nic, protocolAddress(netip.MustParseAddr(text)), stack.AddressProperties{}))
	}
	s.SetRouteTable([]tcpip.Route{
		{Destination: header.IPv4EmptySubnet, NIC: nic},
		{Destination: header.IPv6EmptySubnet, NIC: nic},
	})
	return s
}

func must(err tcpip.Error) {
	if err != nil {
		log.Fatal(err)
	}
}

func numbered(address netip.Addr) (tcpip.Address, tcpip.NetworkProtocolNumber) {
	if address.Is4() {
		return tcpip.AddrFrom4(address.As4()), ipv4.ProtocolNumber
	}
	return tcpip.AddrFrom16(address.As16()), ipv6.ProtocolNumber
}

func protocolAddress(address netip.Addr) tcpip.ProtocolAddress {
	inner, protocol := numbered(address)
	return tcpip.ProtocolAddress{Protocol: protocol, AddressWithPrefix: inner.WithPrefix()}
}

// host is the stack as package streams wants it: addresses are "ip:port", or ":port" to listen on IPv6 and IPv4.
type host struct{ stack *stack.Stack }

func (h host) Dial(ctx context.Context, _, address string) (net.Conn, error) {
	full, protocol, err := parse(address)
	if err != nil {
		return nil, err
	}
	return gonet.DialContextTCP(ctx, h.stack, full, protocol)
}

func (h host) Listen(_, address string) (net.Listener, error) {
	if strings.HasPrefix(address, ":") {
		address = "[::]" + address
	}
	full, protocol, err := parse(address)
	if err != nil {
		return nil, err
	}
	return gonet.ListenTCP(h.stack, full, protocol)
}

func parse(text string) (tcpip.FullAddress, tcpip.NetworkProtocolNumber, error) {
	address, err := netip.ParseAddrPort(text)
	if err != nil {
		return tcpip.FullAddress{}, 0, err
	}
	inner, protocol := numbered(address.Addr())
	if address.Addr().IsUnspecified() {
		inner = tcpip.Address{}
	}
	return tcpip.FullAddress{NIC: nic, Addr: inner, Port: address.Port()}, protocol, nil
}

func stats(s *stack.Stack) map[string]uint64 {
	counters := s.Stats().TCP
	return map[string]uint64{
		"retransmits": counters.Retransmits.Value(), "fast_retransmits": counters.FastRetransmit.Value(),
		"timeouts": counters.Timeouts.Value(), "checksum_errors": counters.ChecksumErrors.Value(),
		"segments_sent": counters.SegmentsSent.Value(), "invalid": counters.InvalidSegmentsReceived.Value(),
	}
}
