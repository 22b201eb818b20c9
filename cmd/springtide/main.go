// Springtide files tax returns through the peak. See the help of the command.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"springtide/cmd/internal/cli"
	"springtide/cmd/internal/wire"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	streams := cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
	os.Exit(cli.Run(ctx, os.Args[1:], os.Getenv, streams, wire.Deps()))
}
