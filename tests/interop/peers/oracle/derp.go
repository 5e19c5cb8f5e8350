package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"tailscale.com/derp"
	"tailscale.com/derp/derpserver"
	"tailscale.com/types/key"

	"interop.test/peers/lines"
)

var derpOperations = map[string]lines.Operation{
	"derp_read": lines.Op(derpRead), "derp_write": lines.Op(derpWrite),
	"derp_server": lines.Op(derpServer), "derp_accept": lines.Op(derpAccept), "derp_server_close": lines.Op(derpServerClose),
	"derp_client": lines.Op(derpClient), "derp_send": lines.Op(derpSend), "derp_receive": lines.Op(derpReceive),
	"derp_feed": lines.Op(derpFeed), "derp_take": lines.Op(derpTake), "derp_close": lines.Op(derpClose),
}

type derpFrame struct {
	Type    byte   `json:"type"`
	Payload []byte `json:"payload"`
}

// derpRead cuts a stream into frames; Left is how many bytes of an unfinished one remain.
func derpRead(r data) (map[string]any, error) {
	frames, reader := []derpFrame{}, bufio.NewReader(bytes.NewReader(r.Data))
	left := len(r.Data)
	for {
		kind, size, err := derp.ReadFrameHeader(reader)
		if err != nil {
			break
		}
		payload := make([]byte, min(size, uint32(left)))
		if _, err := io.ReadFull(reader, payload); err != nil || uint32(len(payload)) != size {
			break
		}
		left -= 5 + len(payload)
		frames = append(frames, derpFrame{byte(kind), payload})
	}
	return map[string]any{"frames": frames, "left": left}, nil
}

func derpWrite(r struct{ Frames []derpFrame }) (*data, error) {
	var out bytes.Buffer
	writer := bufio.NewWriter(&out)
	for _, frame := range r.Frames {
		if err := derp.WriteFrame(writer, derp.FrameType(frame.Type), frame.Payload); err != nil {
			return nil, err
		}
	}
	return &data{out.Bytes()}, writer.Flush()
}

// tap is a net.Conn with the test at its other end: reads wait for derp_feed, writes wait for derp_take.
type tap struct {
	mu      sync.Mutex
	changed *sync.Cond
	in, out bytes.Buffer
	closed  bool
	client  *derp.Client
	failed  error
}

func newTap() *tap {
	t := new(tap)
	t.changed = sync.NewCond(&t.mu)
	return t
}

func (t *tap) Read(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.in.Len() == 0 && !t.closed {
		t.changed.Wait()
	}
	return t.in.Read(p) // io.EOF once closed
}

func (t *tap) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return 0, net.ErrClosed
	}
	t.changed.Broadcast()
	return t.out.Write(p)
}

func (t *tap) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.changed.Broadcast()
	return nil
}

func (t *tap) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (t *tap) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (t *tap) SetDeadline(time.Time) error      { return nil }
func (t *tap) SetReadDeadline(time.Time) error  { return nil }
func (t *tap) SetWriteDeadline(time.Time) error { return nil }

func (t *tap) buffered() *bufio.ReadWriter {
	return bufio.NewReadWriter(bufio.NewReader(t), bufio.NewWriter(t))
}

// whole is how many frames the output holds, and where the last of them ends.
func (t *tap) whole() (count, end int) {
	out := t.out.Bytes()
	for len(out)-end >= 5 {
		size := int(binary.BigEndian.Uint32(out[end+1:]))
		if len(out)-end-5 < size {
			break
		}
		count, end = count+1, end+5+size
	}
	return count, end
}

var (
	derpServers numbered[*derpserver.Server]
	taps        numbered[*tap]
)

func quiet(string, ...any) {}

func derpServer(r struct{ Private key.NodePrivate }) (map[string]int, error) {
	return map[string]int{"server": derpServers.add(derpserver.New(r.Private, quiet))}, nil
}

func derpServerClose(r struct{ Server int }) (lines.None, error) {
	server, err := derpServers.get(r.Server)
	if err != nil {
		return lines.None{}, err
	}
	derpServers.forget(r.Server)
	return lines.None{}, server.Close()
}

// derpAccept is a connection to the server, past its HTTP upgrade.
func derpAccept(r struct{ Server int }) (map[string]int, error) {
	server, err := derpServers.get(r.Server)
	if err != nil {
		return nil, err
	}
	t := newTap()
	go func() {
		server.Accept(context.Background(), t, t.buffered(), "127.0.0.1:1")
		t.Close()
	}()
	return map[string]int{"tap": taps.add(t)}, nil
}

// derpClient begins to log in, past its HTTP upgrade; derp_receive waits until it has.
func derpClient(r struct{ Private key.NodePrivate }) (map[string]int, error) {
	t := newTap()
	go func() {
		client, err := derp.NewClient(r.Private, t, t.buffered(), quiet, derp.CanAckPings(true))
		t.mu.Lock()
		defer t.mu.Unlock()
		t.client, t.failed = client, err
		t.changed.Broadcast()
	}()
	return map[string]int{"tap": taps.add(t)}, nil
}

func (t *tap) loggedIn() (*derp.Client, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.client == nil && t.failed == nil {
		t.changed.Wait()
	}
	return t.client, t.failed
}

type onTap struct {
	Tap    int
	Data   []byte
	To     key.NodePublic
	Frames int
}

func derpSend(r onTap) (lines.None, error) {
	t, err := taps.get(r.Tap)
	if err != nil {
		return lines.None{}, err
	}
	client, err := t.loggedIn()
	if err != nil {
		return lines.None{}, err
	}
	return lines.None{}, client.Send(r.To, r.Data)
}

// derpReceive is the client's next message, by the name of its Go type.
func derpReceive(r onTap) (map[string]any, error) {
	t, err := taps.get(r.Tap)
	if err != nil {
		return nil, err
	}
	client, err := t.loggedIn()
	if err != nil {
		return nil, err
	}
	message, err := client.Recv()
	if err != nil {
		return nil, err
	}
	kind := fmt.Sprintf("%T", message)[len("derp."):]
	if packet, ok := message.(derp.ReceivedPacket); ok {
		return map[string]any{"kind": kind, "from": packet.Source, "data": packet.Data}, nil
	}
	return map[string]any{"kind": kind, "message": message}, nil
}

func derpFeed(r onTap) (lines.None, error) {
	t, err := taps.get(r.Tap)
	if err != nil {
		return lines.None{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.in.Write(r.Data)
	t.changed.Broadcast()
	return lines.None{}, nil
}

// derpTake waits until so many whole frames are there, or the connection has ended, and takes all whole ones.
func derpTake(r onTap) (map[string]any, error) {
	t, err := taps.get(r.Tap)
	if err != nil {
		return nil, err
	}
	late := time.AfterFunc(10*time.Second, func() { t.Close() })
	defer late.Stop()
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		count, end := t.whole()
		if count >= r.Frames || t.closed {
			return map[string]any{"data": bytes.Clone(t.out.Next(end)), "closed": t.closed}, nil
		}
		t.changed.Wait()
	}
}

func derpClose(r onTap) (lines.None, error) {
	t, err := taps.get(r.Tap)
	if err != nil {
		return lines.None{}, err
	}
	taps.forget(r.Tap)
	return lines.None{}, t.Close()
}
