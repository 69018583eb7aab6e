// Renders the TEMPLATE of a Modelfile as Ollama does: Go's text/template, with the fields System
// and Messages. Standard input: {"modelfile": "…", "cases": [[{"Role": "…", "Content": "…"}]]};
// standard output: a list of texts. Called by ollama_template.py.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"text/template"
)

type message struct{ Role, Content string }

type task struct {
	Modelfile string
	Cases     [][]message
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// The text between the three quotation marks, which Ollama keeps as it is
func templateOf(modelfile string) string {
	_, rest, found := strings.Cut(modelfile, "\nTEMPLATE \"\"\"")
	text, _, closed := strings.Cut(rest, "\"\"\"\n")
	if !found || !closed {
		check(fmt.Errorf("no TEMPLATE in the Modelfile"))
	}
	return text
}

func main() {
	var t task
	check(json.NewDecoder(os.Stdin).Decode(&t))
	tree, err := template.New("").Option("missingkey=zero").Parse(templateOf(t.Modelfile))
	check(err)
	texts := []string{}
	for _, messages := range t.Cases {
		system := []string{}
		for _, m := range messages {
			if m.Role == "system" {
				system = append(system, m.Content)
			}
		}
		var b strings.Builder
		fields := map[string]any{
			"System": strings.Join(system, "\n\n"), "Messages": messages, "Response": "",
		}
		check(tree.Execute(&b, fields))
		texts = append(texts, b.String())
	}
	check(json.NewEncoder(os.Stdout).Encode(texts))
}
