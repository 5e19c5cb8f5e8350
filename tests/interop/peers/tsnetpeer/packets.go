package main

import (
	"net"

	"interop.test/peers/lines"
)

// udp sends one datagram and waits for one answer.
func (p *peer) udp(r struct {
	addressed
	Data []byte // base64 in JSON
}) (map[string]any, error) {
	ctx, cancel := r.Context()
	defer cancel()
	conn, err := p.server.Dial(ctx, "udp", r.Address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	if _, err := conn.Write(r.Data); err != nil {
		return nil, err
	}
	answer := make([]byte, 64<<10)
	n, err := conn.Read(answer)
	if err != nil {
		return nil, err
	}
	return map[string]any{"data": answer[:n], "local": conn.LocalAddr().String()}, nil
}

// udpListen echoes each datagram on "100.64.0.1:7": a packet listener needs its address.
func (p *peer) udpListen(r addressed) (lines.None, error) {
	conn, err := p.server.ListenPacket("udp", r.Address)
	if err != nil {
		return lines.None{}, err
	}
	go echoDatagrams(conn)
	return lines.None{}, nil
}

func echoDatagrams(conn net.PacketConn) {
	datagram := make([]byte, 64<<10)
	for {
		n, from, err := conn.ReadFrom(datagram)
		if err != nil {
			return
		}
		conn.WriteTo(datagram[:n], from)
	}
}
