package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"callchain/routing"
	weekly "callchain/routing/report"
)

// One alert with an endless label leaves the others readable.
func TestTablesStayNarrow(t *testing.T) {
	endless := strings.Repeat("ü", 5000)
	for name, print := range map[string]func(*bytes.Buffer){
		"incidents": func(w *bytes.Buffer) {
			printList(w, []incident{{ID: "00-a", Subject: "name:" + endless, AcknowledgedBy: endless}, {ID: "00-b", Subject: "service:shop"}})
		},
		"risks": func(w *bytes.Buffer) {
			printRisks(w, weekly.RiskList{Risks: []weekly.RecordedRisk{{Kind: routing.RiskUnmapped, At: time.Now(), Subject: endless, Alert: endless}}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			print(&out)
			for line := range strings.Lines(out.String()) {
				if n := len([]rune(line)); n > 300 {
					t.Errorf("a line of %d letters", n)
				}
			}
			if strings.Contains(name, "incidents") && !strings.Contains(out.String(), "üü…  ") {
				t.Errorf("it does not say that something was cut: %s", out.String())
			}
		})
	}
}
