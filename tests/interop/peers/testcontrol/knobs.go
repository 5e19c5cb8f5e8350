package main

import (
	"reflect"

	"tailscale.com/tstest/integration/testcontrol"

	"interop.test/peers/lines"
)

// knobs names what a test can turn on testcontrol: exported fields, and exported methods, as of the pinned version.
func (c control) knobs(lines.None) (map[string][]string, error) {
	server := reflect.TypeFor[*testcontrol.Server]()
	fields, methods := []string{}, []string{}
	for field := range server.Elem().NumField() {
		if f := server.Elem().Field(field); f.IsExported() {
			fields = append(fields, f.Name)
		}
	}
	for method := range server.NumMethod() {
		methods = append(methods, server.Method(method).Name)
	}
	return map[string][]string{"fields": fields, "methods": methods}, nil
}
