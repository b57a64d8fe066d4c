package pgconn

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/lib/pq"
)

// session is what a new connection reads about its session.
type session struct {
	identity   string // of the database; see IdentityExpression
	inRecovery string
	readOnly   string // before the settings were set

	statementTimeout time.Duration // 0: none
}

// readSession sets the settings of a new connection and reads its session, in one round trip.
func (c *Connector) readSession(conn driver.QueryerContext) (session, error) {
	columns, err := readRow(conn, c.sessionQuery())
	var pe *pq.Error
	if errors.As(err, &pe) && isSettingRefused(pe) {
		return session{}, fmt.Errorf("the server refuses a setting in the database URL; correct or remove it: %w", err)
	}

	if err != nil {
		return session{}, fmt.Errorf("start session: %w", err)
	}

	seconds, err := strconv.ParseFloat(columns[len(columns)-1], 64)
	if err != nil {
		return session{}, fmt.Errorf("read statement_timeout: %w", err)
	}

	return session{
		identity:         columns[0],
		inRecovery:       columns[1],
		readOnly:         columns[2],
		statementTimeout: time.Duration(seconds * float64(time.Second)),
	}, nil
}

// sessionQuery returns the query of readSession. The server evaluates its columns in their order.
func (c *Connector) sessionQuery() string {
	query := `SELECT ` + IdentityExpression + `, ` + roleColumns
	for _, name := range slices.Sorted(maps.Keys(c.Target.settings)) {
		query += ",\n\t" + setConfig(name, c.Target.settings[name])
	}

	for _, name := range slices.Sorted(maps.Keys(c.Settings)) {
		if c.Target.has(name) && !c.IsDecided {
			continue
		}

		query += fmt.Sprintf(",\n\tCASE WHEN current_setting(%s, true) IS NOT NULL THEN %s END",
			pq.QuoteLiteral(name), setConfig(name, c.Settings[name]))
	}

	return query + ",\n\textract(epoch FROM current_setting('statement_timeout')::interval)::text"
}

func setConfig(name, value string) string {
	return "set_config(" + pq.QuoteLiteral(name) + ", " + pq.QuoteLiteral(value) + ", false)"
}

// isSettingRefused reports whether the server does not know a setting, or does not accept its value.
func isSettingRefused(err *pq.Error) bool {
	switch err.Code {
	case "42704", // unknown setting
		"22023", // invalid value
		"42501", // not allowed to this role
		"55P02": // cannot be set after the connection was opened
		return true
	}

	return false
}

// readRow returns the columns of the first row of a query. Each must be text, and a NULL is empty.
func readRow(conn driver.QueryerContext, query string) ([]string, error) {
	result, err := conn.QueryContext(context.Background(), query, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = result.Close() }()

	values := make([]driver.Value, len(result.Columns()))
	err = result.Next(values)
	if err != nil {
		return nil, err
	}

	texts := make([]string, len(values))
	for i, value := range values {
		switch value := value.(type) {
		case string:
			texts[i] = value
		case []byte:
			texts[i] = string(value)
		case nil:
		default:
			return nil, fmt.Errorf("column %d must be text; got %T", i+1, value)
		}
	}

	return texts, nil
}
