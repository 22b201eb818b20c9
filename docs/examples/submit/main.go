// Command submit files one return over REST with a generated client and waits for
// the result. SPRINGTIDE_URL and SPRINGTIDE_KEY name the server and the key.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"springtide/docs/examples/client"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	key := func(_ context.Context, r *http.Request) error {
		r.Header.Set("Authorization", "Bearer "+os.Getenv("SPRINGTIDE_KEY"))
		return nil
	}
	c, err := client.NewClientWithResponses(os.Getenv("SPRINGTIDE_URL"), client.WithRequestEditorFn(key))
	if err != nil {
		return err
	}
	submitted, err := c.FilingServiceSubmitFilingWithResponse(ctx, client.FilingServiceSubmitFilingJSONRequestBody{
		RequestId: new("example-2026-06-92110105YY0JUW851T"), // a second run is the same click
		Return: &client.SpringtideV1Return{
			Form: new("cn.vat.small"), Authority: new("cn.11"),
			Period:   &client.SpringtideV1Period{Start: new("2026-04-01"), End: new("2026-06-30")},
			Taxpayer: &client.SpringtideV1Taxpayer{Id: new("92110105YY0JUW851T"), Name: new("示例理发店")},
			Lines:    &map[string]string{"11@sc": "15000.00"},
			Context:  &map[string]string{"entity": "individual"},
		},
	})
	if err != nil {
		return err
	}
	if submitted.JSON200 == nil {
		return refused(submitted.ApplicationproblemJSONDefault)
	}
	return await(ctx, c, *submitted.JSON200.FilingId)
}

// await asks with the last answer's ETag, so that the server answers once there is another.
func await(ctx context.Context, c *client.ClientWithResponses, id string) error {
	var known string
	for {
		got, err := c.FilingServiceGetFilingWithResponse(ctx, id, &client.FilingServiceGetFilingParams{Wait: new("20s"), IfNoneMatch: &known})
		switch {
		case err != nil:
			return err
		case got.StatusCode() == http.StatusNotModified:
			continue
		case got.JSON200 == nil:
			return refused(got.ApplicationproblemJSONDefault)
		}
		known = got.HTTPResponse.Header.Get("ETag")
		filing := got.JSON200.Filing
		fmt.Println(id, *filing.State)
		switch *filing.State {
		case client.FILINGSTATEACCEPTED:
			fmt.Println("receipt", *filing.Receipt.Number)
			return nil
		case client.FILINGSTATEINVALID, client.FILINGSTATEREJECTED, client.FILINGSTATECONFLICT, client.FILINGSTATECANCELLED:
			return errors.New(*filing.Message.En)
		}
	}
}

func refused(p *client.Problem) error {
	if p == nil {
		return errors.New("the answer is none of the server's")
	}
	return errors.New(p.Detail)
}
