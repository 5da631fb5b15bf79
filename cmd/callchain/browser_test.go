package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"callchain/internal/testbench"
)

// TestDemoInABrowser does what the README invites to: it opens the demo, fires
// an alert, sees the page arrive and escalate, and presses Acknowledge.
// CALLCHAIN_SCREENSHOT=FILE keeps a picture of how it looks then.
func TestDemoInABrowser(t *testing.T) {
	daemon, page := testbench.FreeAddr(t), testbench.FreeAddr(t)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- runDemo(ctx, daemon, page, slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})), streams{out: io.Discard, err: io.Discard})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error("the demo ended with:", err)
		}
	})

	alloc, cancel := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox,
		chromedp.Flag("disable-gpu", true), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.WindowSize(1400, 1800))...)
	t.Cleanup(cancel)
	browser, cancel := chromedp.NewContext(alloc)
	t.Cleanup(cancel)
	if _, err := chromedp.Run(browser, chromedp.Navigate("about:blank")); err != nil {
		t.Fatal("start Chromium (make test installs it):", err)
	}
	do := func(what string, a chromedp.Action[chromedp.Void]) {
		t.Helper()
		limited, cancel := context.WithTimeout(browser, 60*time.Second)
		defer cancel()
		if _, err := chromedp.Run(limited, a); err != nil {
			shown, _ := chromedp.Run(browser, chromedp.Evaluate[string]("document.body.innerText"))
			t.Fatalf("%s: %v\nthe page shows:\n%.3000s", what, err, shown)
		}
	}
	shows := func(what, script string) {
		t.Helper()
		do(what, func(ctx context.Context, tab *chromedp.Target) (chromedp.Void, error) {
			_, err := chromedp.Poll[bool](script)(ctx, tab)
			return chromedp.Void{}, err
		})
	}
	text := func(words ...string) string {
		var terms []string
		for _, w := range words {
			terms = append(terms, fmt.Sprintf("document.body.innerText.includes(%q)", w))
		}
		return strings.Join(terms, " && ")
	}

	testbench.Eventually(t, 20*time.Second, "the demo's page", func() bool {
		_, err := chromedp.Run(browser, chromedp.Navigate("http://"+page+"/"))
		return err == nil
	})
	shows("the prepared alerts", text("Fire an alert", "Parsoid is down"))
	do("fire", chromedp.Click(`button[aria-label="Fire: Parsoid is down"]`))
	shows("the page arrives", text("FIRING - parsoid", "Escalates to", "step 1 of"))
	shows("nobody answers: the next step", text("step 2 of"))
	if file := os.Getenv("CALLCHAIN_SCREENSHOT"); file != "" {
		png, err := chromedp.Run(browser, chromedp.FullScreenshot(100))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, png, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	press := func(within, label string) {
		t.Helper()
		shows(label, fmt.Sprintf(`(() => { const b = [...document.querySelectorAll(%q)].find(b => b.textContent.trim() === %q); b?.click(); return !!b; })()`, within+" button", label))
	}
	press("#inbox", "Acknowledge")
	shows("the acknowledgement", text("ACKNOWLEDGED by", "acknowledged"))

	// Other buttons open a form; what is sent off with it changes the message.
	press("#inbox", "Add a note…")
	shows("the form", `!!document.querySelector('.modal textarea')`)
	press(".modal", "Add the note")
	shows("what is missing", text("Please complete this required field."))
	do("write", chromedp.SendKeys(".modal textarea", "looking at the logs"))
	press(".modal", "Add the note")
	shows("the note", text("looking at the logs")+" && !document.querySelector('.modal')")

	shows("where commands are typed", `(() => { const i = document.querySelector('.command input[name=text]'); i.value = '/callchain whois parsoid'; return !!i; })()`)
	press(".command", "Send")
	shows("the command's answer", text("Only visible to", "Converts wikitext"))
}
