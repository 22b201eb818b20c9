package target_test

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// work is what a worker process of these tests does; it returns the exit code.
func work(does string) int {
	terms := make(chan os.Signal, 1)
	signal.Notify(terms, syscall.SIGTERM)
	switch does {
	case "drain":
		fmt.Println("at work")
		<-terms
		fmt.Println("drained")
		return 0
	case "hang":
		fmt.Println("at work")
		for range terms {
			fmt.Println("told to end, and not listening")
		}
	}
	return 7
}
