// Command wifpeer obtains one ID token as Go's clients do, for the audience that is its
// argument, and prints it. The test looks at the requests that it makes on the way.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"tailscale.com/wif"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("one argument is needed: an audience")
	}
	token, err := wif.ObtainProviderToken(context.Background(), os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(token)
}
