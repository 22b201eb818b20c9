package wire

import (
	"context"
	"errors"
	"fmt"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"springtide/cmd/internal/cli"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/forms/sample"
	"springtide/services/returns"
)

// demoSeed makes every demo show the same firm.
const demoSeed = 20260715

// demoAccepted is how many accepted filings the demo's table lists.
const demoAccepted = 12

// Demo starts everything, files a sample firm and shows what became of it.
func Demo(ctx context.Context, o cli.DemoOptions) error {
	if o.Data == "" {
		dir, err := os.MkdirTemp("", "springtide-demo-")
		if err != nil {
			return fmt.Errorf("demo: %w", err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		o.Data = dir
	}
	s := newStack(o.Logger)
	d, err := startDev(ctx, s, o.DevOptions)
	if err == nil {
		err = d.fileSample(ctx, o)
	}
	if err == nil && o.Stay {
		if link := d.login("/login"); link != "" {
			_, _ = fmt.Fprintf(o.UI.Err, "\nthe board, already signed in: %s\nthe operators' board: %s", link, d.login("/ops"))
		}
		_, _ = fmt.Fprintf(o.UI.Err, "\neverything stays up until Ctrl-C: SPRINGTIDE_KEY=$(cat %s) springtide --grpc %s list\n", d.keyFile, d.grpc)
		err = s.wait(ctx)
	}
	if errors.Is(err, cli.ErrInterrupted) {
		err = nil
	}
	return errors.Join(err, s.stop())
}

// fileSample presses the button for a sample firm of client companies.
func (d *development) fileSample(ctx context.Context, o cli.DemoOptions) error {
	firm, err := sample.New(sample.Config{Seed: demoSeed, Clients: o.Filings, MistakesPerThousand: 60, DeregisteredPerThousand: 20})
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	conn, err := grpc.NewClient(d.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer conn.Close()
	items := make([]returns.Item, len(firm.Returns))
	for i, r := range firm.Returns {
		items[i] = returns.Item{Return: r, RequestID: fmt.Sprintf("demo-%d", i), Source: fmt.Sprintf("sample[%d]", i+1)}
	}
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+d.token)
	filer := cli.Filer{Client: springtidev1.NewFilingServiceClient(conn), UI: o.UI, Title: "sample firm"}
	report, err := filer.File(ctx, items)
	if err != nil {
		return err
	}
	if o.UI.JSON {
		return report.WriteSummary(o.UI.Out)
	}
	report.MostAccepted = demoAccepted
	return report.Write(o.UI)
}
