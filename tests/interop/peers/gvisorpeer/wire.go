package main

import (
	"context"
	"log"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

const (
	socketBuffer = 32 << 20
	sndBufForce  = 32 // SO_SNDBUFFORCE, SO_RCVBUFFORCE of Linux
	rcvBufForce  = 33
)

// wire carries packets of one link; the datagrams of a burst fit its socket's buffers where root made it.
type wire struct {
	conn  *net.UDPConn
	other atomic.Pointer[netip.AddrPort]
	link  *channel.Endpoint
}

func newWire(other string, link *channel.Endpoint) (*wire, error) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	enlarge(conn)
	w := &wire{conn: conn, link: link}
	if other != "" {
		address, err := netip.ParseAddrPort(other)
		if err != nil {
			return nil, err
		}
		w.other.Store(&address)
	}
	go w.in()
	go w.out()
	return w, nil
}

func enlarge(conn *net.UDPConn) {
	raw, err := conn.SyscallConn()
	if err != nil {
		log.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		for _, option := range []int{sndBufForce, rcvBufForce} {
			if err := syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, option, socketBuffer); err != nil {
				log.Printf("buffers stay small: %v", err)
			}
		}
	})
}

func (w *wire) in() {
	datagram := make([]byte, 64<<10)
	for {
		n, from, err := w.conn.ReadFromUDPAddrPort(datagram)
		if err != nil {
			log.Printf("wire: %v", err)
			continue
		}
		if w.other.Load() == nil {
			w.other.Store(&from)
		}
		if n == 0 {
			continue
		}
		protocol := header.IPv4ProtocolNumber
		if datagram[0]>>4 == 6 {
			protocol = header.IPv6ProtocolNumber
		}
		packet := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(datagram[:n])})
		w.link.InjectInbound(protocol, packet)
		packet.DecRef()
	}
}

func (w *wire) out() {
	for {
		packet := w.link.ReadContext(context.Background())
		if packet == nil {
			return
		}
		view := packet.ToView()
		packet.DecRef()
		if other := w.other.Load(); other != nil {
			if _, err := w.conn.WriteToUDPAddrPort(view.AsSlice(), *other); err != nil {
				log.Printf("wire: %v", err)
			}
		}
		view.Release()
	}
}
