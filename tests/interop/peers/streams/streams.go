// Package streams is TCP by JSON lines, over any stack that dials and listens.
//
//	send fetch rtt connections     a stream dialled for one purpose, and what came of it
//	listen accepted unlisten       listeners that echo, swallow, speak or hold
//	open write read shutdown …     a stream that the test works by hand
package streams

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"interop.test/peers/lines"
)

// Host is a stack with names of its own: tsnet, or gVisor alone.
type Host interface {
	Dial(ctx context.Context, network, address string) (net.Conn, error)
	Listen(network, address string) (net.Listener, error)
}

// Streams is everything that the operations have opened.
type Streams struct {
	host      Host
	mu        sync.Mutex
	listeners map[string]*listener
	streams   map[int]*stream
	last      int
}

func New(host Host) *Streams {
	return &Streams{host: host, listeners: map[string]*listener{}, streams: map[int]*stream{}}
}

func (s *Streams) Operations() map[string]lines.Operation {
	return map[string]lines.Operation{
		"send": lines.Op(s.send), "fetch": lines.Op(s.fetch), "rtt": lines.Op(s.rtt), "connections": lines.Op(s.connections),
		"listen": lines.Op(s.listen), "accepted": lines.Op(s.accepted), "unlisten": lines.Op(s.unlisten),
		"open": lines.Op(s.open), "write": lines.Op(s.write), "read": lines.Op(s.read),
		"shutdown": lines.Op(s.shutdown), "reset": lines.Op(s.reset), "close": lines.Op(s.close),
	}
}

// Waiting is the part of a request that bounds its time; 30 s where nothing is said.
type Waiting struct{ Timeout float64 }

func (w Waiting) Context() (context.Context, context.CancelFunc) {
	seconds := w.Timeout
	if seconds == 0 {
		seconds = 30
	}
	return context.WithTimeout(context.Background(), time.Duration(seconds*float64(time.Second)))
}

// Addressed is a request about "host:port".
type Addressed struct {
	Waiting
	Address string
}

// transfer is what went over one stream, in one direction.
type transfer struct {
	Bytes   int64   `json:"bytes"`
	SHA256  string  `json:"sha256"`
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error,omitempty"`
}

// halfCloser is what tsnet's and gVisor's connections are, behind net.Conn.
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

func (s *Streams) dial(r Addressed) (net.Conn, error) {
	ctx, cancel := r.Context()
	defer cancel()
	return s.host.Dial(ctx, "tcp", r.Address)
}

type both struct {
	Sent     transfer `json:"sent"`
	Received transfer `json:"received"`
}

// send writes Size random bytes, half-closes, and reads what comes back, both at once.
func (s *Streams) send(r struct {
	Addressed
	Size int64
}) (*both, error) {
	conn, err := s.dial(r.Addressed)
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
func (s *Streams) fetch(r Addressed) (*transfer, error) {
	conn, err := s.dial(r)
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
func (s *Streams) rtt(r struct {
	Addressed
	Size, Count int
}) (*spread, error) {
	conn, err := s.dial(r.Addressed)
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
func (s *Streams) connections(r struct {
	Addressed
	Count int
}) (map[string]float64, error) {
	start, one := time.Now(), []byte{1}
	for i := range r.Count {
		conn, err := s.dial(r.Addressed)
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
func (s *Streams) listen(r struct {
	Address, Mode string
	Size          int64
}) (map[string]string, error) {
	inner, err := s.host.Listen("tcp", r.Address)
	if err != nil {
		return nil, err
	}
	l := &listener{Listener: inner, arrivals: make(chan arrival, 1<<16)}
	s.mu.Lock()
	s.listeners[r.Address] = l
	s.mu.Unlock()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go s.welcome(l, conn, r.Mode, r.Size)
		}
	}()
	return map[string]string{"address": inner.Addr().String()}, nil
}

func (s *Streams) welcome(l *listener, conn net.Conn, mode string, size int64) {
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
		a.ID = s.keep(conn)
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
func (s *Streams) accepted(r Addressed) (*arrival, error) {
	ctx, cancel := r.Context()
	defer cancel()
	s.mu.Lock()
	l := s.listeners[r.Address]
	s.mu.Unlock()
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

func (s *Streams) unlisten(r Addressed) (lines.None, error) {
	s.mu.Lock()
	l := s.listeners[r.Address]
	delete(s.listeners, r.Address)
	s.mu.Unlock()
	if l == nil {
		return lines.None{}, fmt.Errorf("nobody listens on %q", r.Address)
	}
	return lines.None{}, l.Close()
}

// stream is a connection that the test works by hand.
type stream struct{ net.Conn }

func (s *Streams) keep(conn net.Conn) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	s.streams[s.last] = &stream{conn}
	return s.last
}

func (s *Streams) kept(id int) (*stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found := s.streams[id]; found != nil {
		return found, nil
	}
	return nil, fmt.Errorf("no stream %d", id)
}

type opened struct {
	Stream int    `json:"stream"`
	Local  string `json:"local"`
	Remote string `json:"remote"`
}

func (s *Streams) open(r Addressed) (*opened, error) {
	conn, err := s.dial(r)
	if err != nil {
		return nil, err
	}
	return &opened{s.keep(conn), conn.LocalAddr().String(), conn.RemoteAddr().String()}, nil
}

type onStream struct {
	Waiting
	Stream int
	Data   []byte // base64 in JSON
	Size   int
}

func (s *Streams) write(r onStream) (map[string]int, error) {
	found, err := s.kept(r.Stream)
	if err != nil {
		return nil, err
	}
	n, err := found.Write(r.Data)
	return map[string]int{"bytes": n}, err
}

// read waits for exactly Size bytes, or fewer at the end of the stream ("eof").
func (s *Streams) read(r onStream) (map[string]any, error) {
	found, err := s.kept(r.Stream)
	if err != nil {
		return nil, err
	}
	ctx, cancel := r.Context()
	defer cancel()
	deadline, _ := ctx.Deadline()
	found.SetReadDeadline(deadline)
	data := make([]byte, r.Size)
	n, err := io.ReadFull(found, data)
	eof := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	if err != nil && !eof {
		return nil, err
	}
	return map[string]any{"data": data[:n], "eof": eof}, nil
}

func (s *Streams) shutdown(r onStream) (lines.None, error) {
	found, err := s.kept(r.Stream)
	if err != nil {
		return lines.None{}, err
	}
	return lines.None{}, found.Conn.(halfCloser).CloseWrite()
}

// reset ends a stream with RST where the connection can: unread data at close does it in gVisor.
func (s *Streams) reset(r onStream) (lines.None, error) {
	found, err := s.kept(r.Stream)
	if err != nil {
		return lines.None{}, err
	}
	if lingering, ok := found.Conn.(interface{ SetLinger(int) error }); ok {
		lingering.SetLinger(0)
	}
	return lines.None{}, found.Close()
}

func (s *Streams) close(r onStream) (lines.None, error) {
	found, err := s.kept(r.Stream)
	if err != nil {
		return lines.None{}, err
	}
	s.mu.Lock()
	delete(s.streams, r.Stream)
	s.mu.Unlock()
	return lines.None{}, found.Close()
}
