// Package lines serves a table of operations over JSON lines.
//
//	stdin   {"id": 7, "op": "get", "url": "http://other/"}
//	stdout  {"id": 7, "result": {…}}     or     {"id": 7, "error": "no such host"}
//
// Every request runs in its own goroutine, so an operation that waits (accept, up)
// does not stop the next line; answers come in the order in which they are ready.
// A panic of an operation is its error: a harness must hear of it, not lose its peer.
// The program ends when stdin does: a peer never outlives the test that started it.
package lines

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sync"
)

// Operation takes the whole request line and returns what goes under "result".
type Operation func(request json.RawMessage) (any, error)

// Op adapts a function over a typed request to an Operation.
func Op[Request, Result any](run func(Request) (Result, error)) Operation {
	return func(raw json.RawMessage) (any, error) {
		var request Request
		if err := json.Unmarshal(raw, &request); err != nil {
			return nil, fmt.Errorf("request: %w", err)
		}
		return run(request)
	}
}

// None is the result of an operation that has nothing to tell.
type None struct{}

type answer struct {
	ID     int64  `json:"id"`
	Result any    `json:"result,omitempty"`
	Error  string `json:"error,omitempty"`
}

// Server reads requests from one stream and writes answers to another.
type Server struct {
	operations map[string]Operation
	mu         sync.Mutex
	out        *bufio.Writer
}

// Serve answers the requests of stdin on stdout until stdin ends.
func Serve(operations map[string]Operation) error {
	server := &Server{operations: operations, out: bufio.NewWriterSize(os.Stdout, 1<<20)}
	return server.run(os.Stdin)
}

func (s *Server) run(in io.Reader) error {
	reader := bufio.NewReaderSize(in, 1<<20)
	for {
		line, err := reader.ReadBytes('\n')
		if len(line) > 1 {
			go s.handle(line)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (s *Server) handle(line []byte) {
	var head struct {
		ID int64
		Op string
	}
	if err := json.Unmarshal(line, &head); err != nil {
		s.write(answer{Error: "not a request: " + err.Error()})
		return
	}
	result, err := s.operate(head.Op, line)
	if err != nil {
		s.write(answer{ID: head.ID, Error: err.Error()})
		return
	}
	s.write(answer{ID: head.ID, Result: result})
}

func (s *Server) operate(op string, line []byte) (result any, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	run, ok := s.operations[op]
	if !ok {
		return nil, fmt.Errorf("no operation %q", op)
	}
	return run(line)
}

func (s *Server) write(a answer) {
	line, err := json.Marshal(a)
	if err != nil {
		line, _ = json.Marshal(answer{ID: a.ID, Error: "answer: " + err.Error()})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out.Write(line)
	s.out.WriteByte('\n')
	s.out.Flush()
}
