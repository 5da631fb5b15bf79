// Package testbench starts the real programs that callchain stands between, for
// end-to-end tests: Alertmanager in front, a mail server (exim4) and Slack
// emulators (local-slack, emulate) behind, and callchain itself as its own process.
//
//	am := testbench.StartAlertmanager(t, testbench.AlertmanagerConfig{WebhookURL: url})
//	mail := testbench.StartExim(t)
//	slack := testbench.StartLocalSlack(t, testbench.SlackConfig{CallbackURL: url, Users: users})
//	cc := testbench.Daemon{Args: []string{"--config.file=" + file}}.Start(t)
//
// Everything listens on ports of the loopback range that were free a moment
// before, writes its log into the test's output, and is killed with all its
// children when the test ends. Readiness is polled with a deadline; nothing
// sleeps. A missing program fails the test and says what installs it: a suite
// that skips what it cannot start is green when it should not be.
//
// Only tests import this package. It knows nothing of callchain's inside.
package testbench
