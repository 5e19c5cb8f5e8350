package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"time"

	"tailscale.com/control/controlbase"
	"tailscale.com/types/key"

	"interop.test/peers/lines"
)

var noiseOperations = map[string]lines.Operation{
	"noise_server": lines.Op(noiseServer), "noise_client": lines.Op(noiseClient), "noise_finish": lines.Op(noiseFinish),
	"noise_write": lines.Op(noiseWrite), "noise_read": lines.Op(noiseRead), "noise_close": lines.Op(noiseClose),
}

var errNoMore = errors.New("no more bytes for now")

// wire is a net.Conn that never waits: reads take what was given, writes are kept to be taken.
type wire struct{ in, out bytes.Buffer }

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.in.Read(p)
	if err == io.EOF {
		err = errNoMore
	}
	return n, err
}

func (w *wire) Write(p []byte) (int, error)      { return w.out.Write(p) }
func (w *wire) Close() error                     { return nil }
func (w *wire) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (w *wire) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

func (w *wire) take() []byte {
	taken := bytes.Clone(w.out.Bytes())
	w.out.Reset()
	return taken
}

// noiseSession is one side; conn is nil until its handshake is over.
type noiseSession struct {
	wire
	conn   *controlbase.Conn
	finish controlbase.HandshakeContinuation
}

var noiseSessions numbered[*noiseSession]

type noiseState struct {
	Session int    `json:"session"`
	Data    []byte `json:"data"` // for the other side
	Hash    []byte `json:"hash"`
	Version int    `json:"version"`
	Peer    string `json:"peer"`
	Error   string `json:"error,omitempty"`
}

func (s *noiseSession) state(number int, err error) *noiseState {
	state := &noiseState{Session: number, Data: s.take()}
	if err != nil {
		state.Error = err.Error()
	}
	if s.conn != nil {
		hash := s.conn.HandshakeHash()
		state.Hash, state.Version, state.Peer = hash[:], s.conn.ProtocolVersion(), s.conn.Peer().String()
	}
	return state
}

// noiseServer answers an initiation; a refusal may come with an error frame in Data.
func noiseServer(r struct {
	Private    key.MachinePrivate
	Initiation []byte
}) (*noiseState, error) {
	s := new(noiseSession)
	var err error
	s.conn, err = controlbase.Server(context.Background(), s, r.Private, r.Initiation)
	return s.state(noiseSessions.add(s), err), nil
}

func noiseClient(r struct {
	Private key.MachinePrivate
	Control key.MachinePublic
	Version uint16
}) (*noiseState, error) {
	s := new(noiseSession)
	initiation, finish, err := controlbase.ClientDeferred(r.Private, r.Control, r.Version)
	if err != nil {
		return nil, err
	}
	s.finish = finish
	s.out.Write(initiation)
	return s.state(noiseSessions.add(s), nil), nil
}

type onNoise struct {
	Session int
	Data    []byte
}

// noiseFinish gives a client the server's first bytes, the response and what may follow it.
func noiseFinish(r onNoise) (*noiseState, error) {
	s, err := noiseSessions.get(r.Session)
	if err != nil {
		return nil, err
	}
	s.in.Write(r.Data)
	s.conn, err = s.finish(context.Background(), s)
	return s.state(r.Session, err), nil
}

func noiseWrite(r onNoise) (*data, error) {
	s, err := noiseSessions.get(r.Session)
	if err != nil {
		return nil, err
	}
	if _, err := s.conn.Write(r.Data); err != nil {
		return nil, err
	}
	return &data{s.take()}, nil
}

// noiseRead gives bytes and tells all plaintext that is now whole.
func noiseRead(r onNoise) (*data, error) {
	s, err := noiseSessions.get(r.Session)
	if err != nil {
		return nil, err
	}
	s.in.Write(r.Data)
	plaintext, err := io.ReadAll(s.conn)
	if err != nil && !errors.Is(err, errNoMore) {
		return nil, err
	}
	return &data{plaintext}, nil
}

func noiseClose(r onNoise) (lines.None, error) {
	noiseSessions.forget(r.Session)
	return lines.None{}, nil
}
