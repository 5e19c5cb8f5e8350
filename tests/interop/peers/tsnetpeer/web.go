package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"interop.test/peers/lines"
)

// reply is an HTTP answer; a body that is longer than 64 KiB is told by its hash alone.
type reply struct {
	Status  int         `json:"status"`
	Headers http.Header `json:"headers"`
	Body    string      `json:"body"`
	Bytes   int         `json:"bytes"`
	SHA256  string      `json:"sha256"`
	Seconds float64     `json:"seconds"`
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// get makes one HTTP request over the tailnet; any method, any body.
func (p *peer) get(r struct {
	waiting
	URL, Method, Body string
	Headers           map[string]string
}) (*reply, error) {
	ctx, cancel := r.Context()
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, r.Method, r.URL, strings.NewReader(r.Body))
	if err != nil {
		return nil, err
	}
	for name, value := range r.Headers {
		request.Header.Set(name, value)
	}
	start, client := time.Now(), p.server.HTTPClient()
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	text := ""
	if len(body) <= 64<<10 {
		text = string(body)
	}
	return &reply{
		Status: response.StatusCode, Headers: response.Header, Body: text,
		Bytes: len(body), SHA256: digest(body), Seconds: time.Since(start).Seconds(),
	}, nil
}

// http serves on a tailnet port:
//
//	/            JSON: who called (WhoIs), from where, what was asked and sent (by hash)
//	/bytes?n=N   N random bytes, their hash in the header X-Sha256
func (p *peer) http(r addressed) (lines.None, error) {
	l, err := p.server.Listen("tcp", r.Address)
	if err != nil {
		return lines.None{}, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", p.tell)
	mux.HandleFunc("/bytes", giveBytes)
	go http.Serve(l, mux)
	return lines.None{}, nil
}

func (p *peer) tell(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	who, err := p.whois(addressed{Address: request.RemoteAddr})
	if err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{
		"whois": who, "remote": request.RemoteAddr, "method": request.Method, "path": request.URL.RequestURI(),
		"host": request.Host, "headers": request.Header, "bytes": len(body), "sha256": digest(body),
	})
}

func giveBytes(w http.ResponseWriter, request *http.Request) {
	n, err := strconv.ParseInt(request.URL.Query().Get("n"), 10, 64)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Length", fmt.Sprint(n))
	data := make([]byte, n)
	rand.Read(data)
	w.Header().Set("X-Sha256", digest(data))
	w.Write(data)
}
