package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Table is a Markdown table with aligned columns. The first column is text, the others are figures.
type Table struct {
	head []string
	rows [][]string
}

// NewTable returns a table without rows.
func NewTable(head ...string) *Table { return &Table{head: head} }

// Row adds a row.
func (t *Table) Row(cells ...string) { t.rows = append(t.rows, cells) }

// Write writes the table.
func (t *Table) Write(w io.Writer) error {
	widths := make([]int, len(t.head))
	for i, cell := range t.head {
		widths[i] = utf8.RuneCountInString(cell)
		for _, row := range t.rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}

	var b strings.Builder
	writeLine := func(cells []string) {
		for i, cell := range cells {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				b.WriteString("| " + cell + pad + " |")
			} else {
				b.WriteString(" " + pad + cell + " |")
			}
		}

		b.WriteString("\n")
	}

	writeLine(t.head)
	for i, width := range widths {
		if i == 0 {
			b.WriteString("|-" + strings.Repeat("-", width) + "-|")
		} else {
			b.WriteString(strings.Repeat("-", width+1) + ":|")
		}
	}

	b.WriteString("\n")

	for _, row := range t.rows {
		writeLine(row)
	}

	_, err := io.WriteString(w, b.String())
	return err
}

// Spread is the median, the minimum and the maximum of several measurements.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// SpreadOf returns the spread of the values. It is zero without values.
func SpreadOf(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}

	sorted := slices.Clone(values)
	slices.Sort(sorted)
	n := len(sorted)
	return Spread{
		Median: (sorted[(n-1)/2] + sorted[n/2]) / 2,
		Min:    sorted[0],
		Max:    sorted[n-1],
	}
}

// SpreadBy returns the spread of one figure of the results.
func SpreadBy[T any](results []T, figure func(*T) float64) Spread {
	values := make([]float64, len(results))
	for i := range results {
		values[i] = figure(&results[i])
	}

	return SpreadOf(values)
}

// String returns the median and, if they differ, the minimum and the maximum.
func (s Spread) String() string {
	if s.Min == s.Max {
		return fmt.Sprintf("%.2f", s.Median)
	}
	return fmt.Sprintf("%.2f (%.2f to %.2f)", s.Median, s.Min, s.Max)
}

// Number formats a figure with three significant digits. From 1000 on it is an integer with commas
// between the thousands.
func Number(v float64) string {
	switch {
	case v >= 1000:
		return groupThousands(fmt.Sprintf("%.0f", v))
	case v >= 100 || v == 0:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

// groupThousands inserts commas between groups of three digits.
func groupThousands(digits string) string {
	var b strings.Builder
	for i, c := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}

		b.WriteRune(c)
	}

	return b.String()
}

// Optional formats a figure. It returns a dash for zero, which stands for a figure that was not
// measured.
func Optional(v float64) string {
	if cmp.Compare(v, 0) <= 0 {
		return "–"
	}
	return Number(v)
}
