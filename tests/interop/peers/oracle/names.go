package main

import (
	"net/url"

	"golang.org/x/net/http/httpproxy"
	"tailscale.com/util/dnsname"

	"interop.test/peers/lines"
)

var nameOperations = map[string]lines.Operation{
	"hostname": lines.Op(hostname), "proxy": lines.Op(proxy),
}

func hostname(r struct {
	Name string `json:"name"`
}) (string, error) {
	return dnsname.SanitizeHostname(r.Name), nil
}

// proxy is the host and port of the proxy for a URL, empty for none.
func proxy(r struct {
	HTTP   string `json:"http"`
	HTTPS  string `json:"https"`
	Except string `json:"except"`
	Script bool   `json:"script"`
	URL    string `json:"url"`
}) (string, error) {
	wanted, err := url.Parse(r.URL)
	if err != nil {
		return "", err
	}
	config := httpproxy.Config{HTTPProxy: r.HTTP, HTTPSProxy: r.HTTPS, NoProxy: r.Except, CGI: r.Script}
	found, err := config.ProxyFunc()(wanted)
	if err != nil || found == nil {
		return "", nil // in a CGI script, Go refuses where we go without
	}
	return found.Host, nil
}
