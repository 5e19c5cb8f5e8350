// Command netcheckpeer prints Tailscale's own netcheck report on a DERP map, as one line of JSON.
//
//	netcheckpeer --derpmap FILE
//
// Nothing here decides what is right: tests compare the report with ours.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"log"
	"os"
	"time"

	_ "tailscale.com/feature/captiveportal/netcheckhook"
	"tailscale.com/net/netcheck"
	"tailscale.com/net/netmon"
	"tailscale.com/tailcfg"
	"tailscale.com/util/eventbus"
)

func main() {
	path := flag.String("derpmap", "", "file with a DERP map as JSON (needed)")
	flag.Parse()
	text, err := os.ReadFile(*path)
	if err != nil {
		log.Fatal(err)
	}
	derpMap := new(tailcfg.DERPMap)
	if err := json.Unmarshal(text, derpMap); err != nil {
		log.Fatal(err)
	}
	bus := eventbus.New()
	defer bus.Close()
	monitor, err := netmon.New(bus, log.Printf)
	if err != nil {
		log.Fatal(err)
	}
	// Verbose: it waits for every region, as ours does when somebody asks.
	client := &netcheck.Client{NetMon: monitor, Verbose: true, Logf: log.Printf}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := client.Standalone(ctx, ":0"); err != nil {
		log.Fatal(err)
	}
	report, err := client.GetReport(ctx, derpMap, nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(report); err != nil {
		log.Fatal(err)
	}
}
