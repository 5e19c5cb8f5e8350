package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"

	"tailscale.com/tailcfg"

	"interop.test/peers/lines"
)

var tailcfgOperations = map[string]lines.Operation{
	"tailcfg_decode": lines.Op(tailcfgDecode), "tailcfg_compare": lines.Op(tailcfgCompare),
	"tailcfg_random": lines.Op(tailcfgRandom),
}

var tailcfgTypes = map[string]reflect.Type{
	"MapRequest": reflect.TypeFor[tailcfg.MapRequest](), "MapResponse": reflect.TypeFor[tailcfg.MapResponse](),
	"RegisterRequest": reflect.TypeFor[tailcfg.RegisterRequest](), "RegisterResponse": reflect.TypeFor[tailcfg.RegisterResponse](),
	"Hostinfo": reflect.TypeFor[tailcfg.Hostinfo](), "Node": reflect.TypeFor[tailcfg.Node](),
	"DERPMap": reflect.TypeFor[tailcfg.DERPMap](), "EarlyNoise": reflect.TypeFor[tailcfg.EarlyNoise](),
	"FilterRule": reflect.TypeFor[tailcfg.FilterRule](), "DNSConfig": reflect.TypeFor[tailcfg.DNSConfig](),
}

// strict decodes and refuses a field that Go does not know.
func strict(kind string, text []byte) (reflect.Value, error) {
	t, ok := tailcfgTypes[kind]
	if !ok {
		return reflect.Value{}, fmt.Errorf("no type %q", kind)
	}
	value := reflect.New(t)
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	return value, decoder.Decode(value.Interface())
}

type document struct {
	Kind     string
	Document json.RawMessage
}

// tailcfgDecode reads a document as Go does and writes what Go made of it.
func tailcfgDecode(r document) (any, error) {
	value, err := strict(r.Kind, r.Document)
	if err != nil {
		return nil, err
	}
	return value.Interface(), nil
}

// tailcfgCompare tells the paths at which two documents differ once Go has read them.
func tailcfgCompare(r struct {
	document
	Other json.RawMessage
}) ([]string, error) {
	one, err := strict(r.Kind, r.Document)
	if err != nil {
		return nil, fmt.Errorf("document: %w", err)
	}
	other, err := strict(r.Kind, r.Other)
	if err != nil {
		return nil, fmt.Errorf("other: %w", err)
	}
	paths := map[string]bool{}
	differ(one.Elem(), other.Elem(), "", paths)
	found := make([]string, 0, len(paths))
	for path := range paths {
		found = append(found, path)
	}
	slices.Sort(found)
	return found, nil
}

// differ walks both values; a list element is `[]` in a path, a map's value is `{}`.
func differ(a, b reflect.Value, path string, paths map[string]bool) {
	switch a.Kind() {
	case reflect.Pointer:
		if a.IsNil() || b.IsNil() {
			paths[path] = paths[path] || a.IsNil() != b.IsNil()
			break
		}
		differ(a.Elem(), b.Elem(), path, paths)
		return
	case reflect.Struct:
		if a.NumField() > 0 && a.Type().Field(0).IsExported() {
			for i := range a.NumField() {
				differ(a.Field(i), b.Field(i), path+"."+a.Type().Field(i).Name, paths)
			}
			return
		}
		paths[path] = paths[path] || !sameText(a, b)
	case reflect.Slice:
		if a.Len() == b.Len() && a.Type().Elem().Kind() != reflect.Uint8 {
			for i := range a.Len() {
				differ(a.Index(i), b.Index(i), path+"[]", paths)
			}
			return
		}
		paths[path] = paths[path] || a.Len() != b.Len() || !sameText(a, b)
	case reflect.Map:
		for _, name := range append(a.MapKeys(), b.MapKeys()...) {
			inA, inB := a.MapIndex(name), b.MapIndex(name)
			if inA.IsValid() && inB.IsValid() {
				differ(inA, inB, path+"{}", paths)
			} else {
				paths[path] = true
			}
		}
	default:
		paths[path] = paths[path] || !a.Equal(b)
	}
	if !paths[path] {
		delete(paths, path)
	}
}

// sameText compares what has no exported fields (keys, addresses, views) by its JSON.
func sameText(a, b reflect.Value) bool {
	one, err := json.Marshal(a.Interface())
	other, err2 := json.Marshal(b.Interface())
	return err == nil && err2 == nil && bytes.Equal(one, other)
}

// tailcfgRandom makes a value of a type; the same seed makes the same one.
func tailcfgRandom(r struct {
	Kind string
	Seed uint64
}) (any, error) {
	t, ok := tailcfgTypes[r.Kind]
	if !ok {
		return nil, fmt.Errorf("no type %q", r.Kind)
	}
	value := reflect.New(t)
	maker{rand.New(rand.NewPCG(r.Seed, 1))}.fill(value.Elem(), 0)
	return value.Interface(), nil
}
