package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"interop.test/peers/lines"
)

// transfer is what went over one stream, in one direction.
type transfer struct {
	Bytes   int64   `json:"bytes"`
	SHA256  string  `json:"sha256"`
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error,omitempty"`
}

// halfCloser is what tsnet's connections are, behind net.Conn.
type halfCloser interface{ CloseWrite() error }

// pour writes size random bytes, then half-closes.
func pour(to net.Conn, size int64) (transfer, error) {
	start, hash, chunk := time.Now(), sha256.New(), make([]byte, 64<<10)
	for left := size; left > 0; {
		part := chunk[:min(left, int64(len(chunk)))]
		rand.Read(part)
		hash.Write(part)
		if _, err := to.Write(part); err != nil {
			return transfer{Bytes: size - left}, err
		}
		left -= int64(len(part))
	}
	err := to.(halfCloser).CloseWrite()
	return transfer{Bytes: size, SHA256: hex.EncodeToString(hash.Sum(nil)), Seconds: time.Since(start).Seconds()}, err
}

// drain reads to the end of the stream.
func drain(from io.Reader) (transfer, error) {
	start, hash := time.Now(), sha256.New()
	n, err := io.Copy(hash, from)
	return transfer{Bytes: n, SHA256: hex.EncodeToString(hash.Sum(nil)), Seconds: time.Since(start).Seconds()}, err
}

func (p *peer) dial(r addressed) (net.Conn, error) {
	ctx, cancel := r.context()
	defer cancel()
	return p.server.Dial(ctx, "tcp", r.Address)
}

type both struct {
	Sent     transfer `json:"sent"`
	Received transfer `json:"received"`
}

// send writes Size random bytes, half-closes, and reads what comes back, both at once.
func (p *peer) send(r struct {
	addressed
	Size int64
}) (*both, error) {
	conn, err := p.dial(r.addressed)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	var result both
	failed := make(chan error, 1)
	go func() {
		var err error
		result.Sent, err = pour(conn, r.Size)
		failed <- err
	}()
	var readErr error
	result.Received, readErr = drain(conn)
	return &result, errors.Join(<-failed, readErr)
}

// fetch reads all that the other side says.
func (p *peer) fetch(r addressed) (*transfer, error) {
	conn, err := p.dial(r)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	got, err := drain(conn)
	return &got, err
}

type spread struct {
	P50 float64 `json:"p50_us"`
	P99 float64 `json:"p99_us"`
	Max float64 `json:"max_us"`
}

// rtt times Count exchanges of Size bytes with an echoing port.
func (p *peer) rtt(r struct {
	addressed
	Size, Count int
}) (*spread, error) {
	conn, err := p.dial(r.addressed)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	out, back := make([]byte, r.Size), make([]byte, r.Size)
	times := make([]float64, r.Count)
	for i := range times {
		start := time.Now()
		if _, err := conn.Write(out); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(conn, back); err != nil {
			return nil, err
		}
		times[i] = float64(time.Since(start).Microseconds())
	}
	slices.Sort(times)
	return &spread{P50: times[r.Count/2], P99: times[r.Count*99/100], Max: times[r.Count-1]}, nil
}

// connections opens Count streams one after another, one byte each way on each.
func (p *peer) connections(r struct {
	addressed
	Count int
}) (map[string]float64, error) {
	start, one := time.Now(), []byte{1}
	for i := range r.Count {
		conn, err := p.dial(r.addressed)
		if err != nil {
			return nil, fmt.Errorf("connection %d: %w", i, err)
		}
		if _, err = conn.Write(one); err == nil {
			_, err = io.ReadFull(conn, one)
		}
		conn.Close()
		if err != nil {
			return nil, fmt.Errorf("connection %d: %w", i, err)
		}
	}
	return map[string]float64{"seconds": time.Since(start).Seconds()}, nil
}

// arrival is one accepted connection, told when its handler is done with it.
type arrival struct {
	Remote string `json:"remote"`
	Local  string `json:"local"`
	transfer
	ID int `json:"stream,omitempty"`
}

type listener struct {
	net.Listener
	arrivals chan arrival
}

// listen accepts on a tailnet port (":7" or "100.64.0.1:7"). Mode says what a connection gets:
//
//	echo   all it says, back            sink   nothing; what it said is in accepted()
//	source Size random bytes, then EOF  hold   nothing; the stream's number is in accepted()
func (p *peer) listen(r struct {
	Address, Mode string
	Size          int64
}) (map[string]string, error) {
	inner, err := p.server.Listen("tcp", r.Address)
	if err != nil {
		return nil, err
	}
	l := &listener{Listener: inner, arrivals: make(chan arrival, 1<<16)}
	p.mu.Lock()
	p.listeners[r.Address] = l
	p.mu.Unlock()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go p.welcome(l, conn, r.Mode, r.Size)
		}
	}()
	return map[string]string{"address": inner.Addr().String()}, nil
}

func (p *peer) welcome(l *listener, conn net.Conn, mode string, size int64) {
	a := arrival{Remote: conn.RemoteAddr().String(), Local: conn.LocalAddr().String()}
	var err error
	switch mode {
	case "echo":
		a.Bytes, err = io.Copy(conn, conn)
		conn.(halfCloser).CloseWrite()
	case "sink":
		a.transfer, err = drain(conn)
	case "source":
		a.transfer, err = pour(conn, size)
		io.Copy(io.Discard, conn)
	case "hold":
		a.ID = p.keep(conn)
		l.arrivals <- a
		return
	}
	if err != nil {
		a.Error = err.Error()
	}
	conn.Close()
	l.arrivals <- a
}

// accepted waits for the next connection of a listener that is done.
func (p *peer) accepted(r addressed) (*arrival, error) {
	ctx, cancel := r.context()
	defer cancel()
	p.mu.Lock()
	l := p.listeners[r.Address]
	p.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("nobody listens on %q", r.Address)
	}
	select {
	case a := <-l.arrivals:
		return &a, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("no connection to %q is done", r.Address)
	}
}

func (p *peer) unlisten(r addressed) (lines.None, error) {
	p.mu.Lock()
	l := p.listeners[r.Address]
	delete(p.listeners, r.Address)
	p.mu.Unlock()
	if l == nil {
		return lines.None{}, fmt.Errorf("nobody listens on %q", r.Address)
	}
	return lines.None{}, l.Close()
}

// stream is a connection that the test works by hand.
type stream struct{ net.Conn }

func (p *peer) keep(conn net.Conn) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last++
	p.streams[p.last] = &stream{conn}
	return p.last
}

func (p *peer) kept(id int) (*stream, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.streams[id]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("no stream %d", id)
}

type opened struct {
	Stream int    `json:"stream"`
	Local  string `json:"local"`
	Remote string `json:"remote"`
}

func (p *peer) open(r addressed) (*opened, error) {
	conn, err := p.dial(r)
	if err != nil {
		return nil, err
	}
	return &opened{p.keep(conn), conn.LocalAddr().String(), conn.RemoteAddr().String()}, nil
}

type onStream struct {
	waiting
	Stream int
	Data   []byte // base64 in JSON
	Size   int
}

func (p *peer) write(r onStream) (map[string]int, error) {
	s, err := p.kept(r.Stream)
	if err != nil {
		return nil, err
	}
	n, err := s.Write(r.Data)
	return map[string]int{"bytes": n}, err
}

// read waits for exactly Size bytes, or fewer at the end of the stream ("eof").
func (p *peer) read(r onStream) (map[string]any, error) {
	s, err := p.kept(r.Stream)
	if err != nil {
		return nil, err
	}
	ctx, cancel := r.context()
	defer cancel()
	deadline, _ := ctx.Deadline()
	s.SetReadDeadline(deadline)
	data := make([]byte, r.Size)
	n, err := io.ReadFull(s, data)
	eof := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	if err != nil && !eof {
		return nil, err
	}
	return map[string]any{"data": data[:n], "eof": eof}, nil
}

func (p *peer) shutdown(r onStream) (lines.None, error) {
	s, err := p.kept(r.Stream)
	if err != nil {
		return lines.None{}, err
	}
	return lines.None{}, s.Conn.(halfCloser).CloseWrite()
}

// reset ends a stream with RST where the connection can: unread data at close does it in gVisor.
func (p *peer) reset(r onStream) (lines.None, error) {
	s, err := p.kept(r.Stream)
	if err != nil {
		return lines.None{}, err
	}
	if lingering, ok := s.Conn.(interface{ SetLinger(int) error }); ok {
		lingering.SetLinger(0)
	}
	return lines.None{}, s.Close()
}

func (p *peer) close(r onStream) (lines.None, error) {
	s, err := p.kept(r.Stream)
	if err != nil {
		return lines.None{}, err
	}
	p.mu.Lock()
	delete(p.streams, r.Stream)
	p.mu.Unlock()
	return lines.None{}, s.Close()
}
