package wallet

import (
	"fmt"
	"slices"
	"strings"
)

// statementBuilder collects the parts of a statement. It numbers the parameters in the order of
// their first use.
type statementBuilder struct {
	parts      []string
	counted    []countedPart
	parameters []parameter
	numbers    map[parameter]int
}

type countedPart struct {
	name string
	rows rowSet
}

func (b *statementBuilder) addPart(name, sql string) {
	b.parts = append(b.parts, name+" AS ("+sql+")")
}

// addCountedPart adds a part that must return one row for each row of the rowSet.
func (b *statementBuilder) addCountedPart(name string, rows rowSet, sql string) {
	b.addPart(name, sql)
	b.counted = append(b.counted, countedPart{name, rows})
}

func (b *statementBuilder) insertRows(name, table string, rows rowSet, columns []string) {
	b.addPart(name, `INSERT INTO `+table+` (`+strings.Join(columns, ", ")+`)
	SELECT * FROM `+b.unnestColumns(rows, columns...)+` AS added`)
}

func (b *statementBuilder) buildStatement() writeStatement {
	conditions := make([]string, len(b.counted))
	for i, part := range b.counted {
		conditions[i] = "(SELECT count(*) FROM " + part.name + ") = " + b.placeholderFor(part.rows, rowCount)
	}

	sql := "WITH " + strings.Join(b.parts, ",\n") + "\nSELECT (SELECT id FROM added_outbox)" + abortUnless(conditions)
	return writeStatement{
		sql:        sql,
		parameters: b.parameters,
	}
}

// abortUnless returns SQL that follows the number that a statement returns. It divides the number
// by zero unless all conditions are true. Then the whole statement fails with stateDivisionByZero.
// SQL has no other way to raise an error without a function in the database.
func abortUnless(conditions []string) string {
	if len(conditions) == 0 {
		return ""
	}

	return " / (" + strings.Join(conditions, " AND ") + ")::int"
}

// unnestColumns returns a subquery that converts arrays into rows with these columns. It calls
// unnest in the SELECT list and not in FROM. In FROM, Postgres first copies the values of each
// array into a tuple store; the copies and their memory were a sixth of Postgres' work.
func (b *statementBuilder) unnestColumns(rows rowSet, columns ...string) string {
	expressions := make([]string, len(columns))
	for i, name := range columns {
		expressions[i] = "unnest(" + b.arrayPlaceholder(rows, name) + ") AS " + name
	}

	return "(SELECT " + strings.Join(expressions, ",\n\t\t") + ")"
}

// arrayPlaceholder returns the placeholder of a column's array, for example $3::int8[].
func (b *statementBuilder) arrayPlaceholder(rows rowSet, name string) string {
	specs := rowSetSpecs[rows]
	index := slices.IndexFunc(specs, func(spec columnSpec) bool {
		return spec.name == name
	})
	if index < 0 {
		panic(fmt.Sprintf("wallet: row set %d has no column %q", rows, name))
	}

	return b.placeholderFor(rows, index) + "::" + specs[index].element.name + "[]"
}

// placeholderFor returns the placeholder of a parameter. It numbers the parameter at its first use.
func (b *statementBuilder) placeholderFor(rows rowSet, column int) string {
	p := parameter{
		rows:   rows,
		column: column,
	}

	if b.numbers[p] == 0 {
		b.parameters = append(b.parameters, p)
		b.numbers[p] = len(b.parameters)
	}

	return fmt.Sprintf("$%d", b.numbers[p])
}

// joinAssignments returns the SET clause of an UPDATE for all columns but the key.
func joinAssignments(columns []string, key string) string {
	var assignments []string
	for _, name := range columns {
		if name != key {
			assignments = append(assignments, name+" = u."+name)
		}
	}

	return strings.Join(assignments, ", ")
}
