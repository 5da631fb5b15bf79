// Package suggest tells how more alerts would reach a service: Propose looks at
// alerts that reached none, Judge at alerting rules before they ever fire.
//
// It gives advice and decides nothing. It is pure, as all below routing: files
// come in as bytes, and what it proposes goes out as text for a person to judge.
package suggest
