// The part of Grafana's ClickHouse plugin that no test in Python can stand in for: its driver, and its parser of macros.
//
// `driver query` reads an address, a login and queries, runs them one after another, or all at once, as the plugin does (database/sql
// over the native protocol, LZ4, the datasource's pool of connections, each query within a context that has the datasource's
// timeout as its deadline), and prints rows or errors.
// `driver people` lets people open a dashboard at the same moment and prints how long each of them has waited.
// `driver macros` reads texts and prints what the plugin's parser finds in them.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/grafana/macropro"
)

type request struct {
	Address  string   `json:"address"`
	Database string   `json:"database"`
	User     string   `json:"user"`
	Password string   `json:"password"`
	Seconds  int      `json:"seconds"`
	Open     int      `json:"open"`
	Idle     int      `json:"idle"`
	AtOnce   bool     `json:"at_once"`
	Queries  []string `json:"queries"`
}

type answer struct {
	Columns []string `json:"columns"`
	Rows    [][]any  `json:"rows"`
	Error   string   `json:"error"`
}

func main() {
	var err error
	switch {
	case len(os.Args) == 2 && os.Args[1] == "query":
		err = query()
	case len(os.Args) == 2 && os.Args[1] == "people":
		err = people()
	case len(os.Args) == 2 && os.Args[1] == "macros":
		err = macros()
	default:
		err = fmt.Errorf("say what to do: query, people or macros")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "driver:", err)
		os.Exit(2)
	}
}

func query() error {
	var asked request
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		return err
	}
	timeout := time.Duration(asked.Seconds) * time.Second
	database := open(asked)
	defer database.Close()
	answers := make([]answer, len(asked.Queries))
	var people sync.WaitGroup
	for place, text := range asked.Queries {
		people.Add(1)
		go func() {
			defer people.Done()
			// what is waited for a connection is no part of the time: how fast this machine is, is not what is asked
			connection, err := database.Conn(context.Background())
			if err != nil {
				answers[place] = answer{Error: err.Error()}
				return
			}
			defer connection.Close()
			answers[place] = ask(connection, text, timeout)
		}()
		if !asked.AtOnce {
			people.Wait()
		}
	}
	people.Wait()
	return json.NewEncoder(os.Stdout).Encode(answers)
}

func open(asked request) *sql.DB {
	database := clickhouse.OpenDB(&clickhouse.Options{
		Protocol:    clickhouse.Native,
		Addr:        []string{asked.Address},
		Auth:        clickhouse.Auth{Database: asked.Database, Username: asked.User, Password: asked.Password},
		Compression: &clickhouse.Compression{Method: clickhouse.CompressionLZ4},
		ReadTimeout: time.Duration(asked.Seconds) * time.Second,
	})
	database.SetMaxOpenConns(asked.Open)
	database.SetMaxIdleConns(asked.Idle)
	return database
}

type audience struct {
	request
	People int `json:"people"`
	// what one browser asks at the same time
	Connections int `json:"connections"`
	// one after the other, each all of its queries: first the filters', then the panels'
	Steps [][]string `json:"steps"`
}

type look struct {
	Milliseconds float64 `json:"milliseconds"`
	Error        string  `json:"error"`
}

func people() error {
	var asked audience
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		return err
	}
	database := open(asked.request)
	defer database.Close()
	looks := make([]look, asked.People)
	began := time.Now()
	var all sync.WaitGroup
	for person := range looks {
		all.Add(1)
		go func() {
			defer all.Done()
			looks[person].Error = asked.open(database)
			looks[person].Milliseconds = float64(time.Since(began).Microseconds()) / 1000
		}()
	}
	all.Wait()
	return json.NewEncoder(os.Stdout).Encode(looks)
}

// open opens the dashboard once and returns what went wrong.
func (asked audience) open(database *sql.DB) string {
	timeout := time.Duration(asked.Seconds) * time.Second
	for _, step := range asked.Steps {
		failed := make([]string, len(step))
		turns := make(chan struct{}, asked.Connections)
		var queries sync.WaitGroup
		for place, text := range step {
			queries.Add(1)
			go func() {
				defer queries.Done()
				turns <- struct{}{}
				defer func() { <-turns }()
				connection, err := database.Conn(context.Background())
				if err != nil {
					failed[place] = err.Error()
					return
				}
				defer connection.Close()
				failed[place] = ask(connection, text, timeout).Error
			}()
		}
		queries.Wait()
		for _, message := range failed {
			if message != "" {
				return message
			}
		}
	}
	return ""
}

func ask(database *sql.Conn, text string, timeout time.Duration) answer {
	background, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	rows, err := database.QueryContext(background, text)
	if err != nil {
		return answer{Error: err.Error()}
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	if err != nil {
		return answer{Error: err.Error()}
	}
	found := answer{Columns: make([]string, len(types)), Rows: [][]any{}}
	for column, kind := range types {
		found.Columns[column] = kind.Name()
	}
	for rows.Next() {
		cells := make([]any, len(types))
		places := make([]any, len(types))
		for column := range cells {
			places[column] = &cells[column]
		}
		if err := rows.Scan(places...); err != nil {
			return answer{Error: err.Error()}
		}
		for column, kind := range types {
			cells[column] = written(reflect.ValueOf(cells[column]), kind.DatabaseTypeName())
		}
		found.Rows = append(found.Rows, cells)
	}
	if err := rows.Err(); err != nil {
		return answer{Error: err.Error()}
	}
	return found
}

var fraction = regexp.MustCompile(`DateTime64\((\d)`)

// written returns a value as ClickHouse itself writes it in JSON, so that both ways to a cell can be compared.
func written(value reflect.Value, kind string) any {
	if !value.IsValid() {
		return nil
	}
	switch content := value.Interface().(type) {
	case time.Time:
		if strings.Contains(kind, "Date") && !strings.Contains(kind, "DateTime") {
			return content.Format("2006-01-02")
		}
		layout := "2006-01-02 15:04:05"
		if digits := fraction.FindStringSubmatch(kind); digits != nil && digits[1] != "0" {
			places, _ := strconv.Atoi(digits[1])
			layout += "." + strings.Repeat("0", places)
		}
		return content.Format(layout)
	case fmt.Stringer:
		return content.String()
	}
	switch value.Kind() {
	case reflect.Pointer, reflect.Interface:
		if value.IsNil() {
			return nil
		}
		return written(value.Elem(), kind)
	case reflect.Slice, reflect.Array:
		items := make([]any, 0, value.Len())
		for index := range value.Len() {
			items = append(items, written(value.Index(index), kind))
		}
		return items
	case reflect.Map:
		items := make(map[string]any, value.Len())
		for _, key := range value.MapKeys() {
			items[fmt.Sprint(key.Interface())] = written(value.MapIndex(key), kind)
		}
		return items
	case reflect.Float32, reflect.Float64:
		if math.IsNaN(value.Float()) || math.IsInf(value.Float(), 0) {
			return nil
		}
	}
	return value.Interface()
}

type texts struct {
	Names   []string `json:"names"`
	Queries []string `json:"queries"`
}

// macros prints each text with every macro in it replaced by its name and its arguments: what the parser makes of the text,
// whatever a macro would become.
func macros() error {
	var asked texts
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		return err
	}
	known := macropro.MacroMap[struct{}]{}
	for _, name := range asked.Names {
		known[name] = func(_ macropro.QueryContext[struct{}], arguments []string) (string, error) {
			return "⟦" + strings.Join(append([]string{name}, arguments...), "¦") + "⟧", nil
		}
	}
	styles := map[string]macropro.CommentStyle{
		"older": macropro.LineComment | macropro.BlockComment | macropro.BackslashEscape,
	}
	styles["newer"] = styles["older"] | macropro.BacktickQuote | macropro.DollarQuote
	answers := make([]map[string]string, 0, len(asked.Queries))
	for _, text := range asked.Queries {
		answer := map[string]string{}
		for style, comments := range styles {
			expanded, err := macropro.Interpolate(text, known, macropro.QueryContext[struct{}]{}, macropro.WithComments(comments))
			if err != nil {
				expanded = "refused"
			}
			answer[style] = expanded
		}
		answers = append(answers, answer)
	}
	return json.NewEncoder(os.Stdout).Encode(answers)
}
