package suggest

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"callchain/config"
	"callchain/routing"
	"callchain/routing/catalog"
)

const testCatalog = `
people: [{name: ana, email: ana@example.org}]
teams: [{name: sre, members: [ana]}, {name: shop, members: [ana]}]
services:
  - {name: checkout, aliases: [cart_8080, kassa], state: third_party, owners: shop}
  - {name: web-shop, state: third_party, owners: shop, alerts: [['alertname=~"Shop.*"'], ['job="shop"', 'env="live"']]}
  - {name: thumbor, state: third_party, owners: sre}
  - {name: data-hub, state: third_party, owners: sre}
  - {name: node, state: third_party, owners: sre}
  - {name: south, state: third_party, owners: sre}
  - {name: batch, state: third_party, owners: sre, alerts: [['job=~"batch-.*"']]}
  - {name: "odd: name", state: third_party, owners: sre, aliases: [odd]}
`

const testConfig = `
external_url: https://callchain.example.org
catalog_files: [catalog.yml]
alertmanager: {sources: [{name: main, anonymous: true}]}
notifiers: {email: {smarthost: 'mail.example.org:25', from: a@example.org, require_tls: false, link_key_file: key}}
routing:
  fallback_team: sre
  service_labels: [service]
  rules:
    - {name: probes, match: ['job=~"probes/.*"', 'instance=~"(?P<svc>[a-z-]+):[0-9]+"'], service: '{{ .svc }}'}
    - {name: apps, match: ['app=~".+"', 'env!="lab"'], service: '{{ .app }}'}
    - {name: parts, match: ['kind="part"'], service: '{{ .part }}'}
    - {name: lab, match: ['env="lab"'], team: sre}
`

func world(t testing.TB, cfgText, catText string) (*config.Config, *routing.Router) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "callchain.yml")
	if err := os.WriteFile(path, []byte(cfgText), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, ps := config.Load(path, config.Options{NoSecrets: true})
	if err := ps.Err(); err != nil {
		t.Fatal(err)
	}
	raw, ps := config.ParseCatalog([]config.File{{Name: "catalog.yml", Data: []byte(catText)}})
	if err := ps.Err(); err != nil {
		t.Fatal(err)
	}
	cat, ps := catalog.New(raw)
	if err := ps.Err(); err != nil {
		t.Fatal(err)
	}
	r, ps := routing.New(cfg, cat)
	if err := ps.Err(); err != nil {
		t.Fatal(err)
	}
	return cfg, r
}

func read(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// backtest routes the recorded alerts.
func backtest(t testing.TB, r *routing.Router) *routing.Backtest {
	t.Helper()
	b := routing.NewBacktest(r)
	in := bufio.NewScanner(strings.NewReader(read(t, "../../internal/testdata/alerts/webhooks.jsonl")))
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		w, err := routing.Decode(in.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		b.Add(w, time.Time{})
	}
	if b.Alerts == 0 {
		t.Fatal("no recorded alerts")
	}
	return b
}
