package main

import (
	"context"
	"time"
)

// deadline bounds what waits for a node.
func deadline() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 30*time.Second)
}
