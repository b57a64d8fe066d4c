package pgconn

import (
	"strings"
	"testing"

	"github.com/lib/pq"
)

// TestURLs has the forms of managed Postgres. Each is understood, or refused with the remedy.
func TestURLs(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		url      string
		hosts    string // host:port of each
		settings string // of the server, name=value
		check    func(*testing.T, *pq.Config)
	}{
		"plain":            {url: "postgres://u:p@h:5433/d", hosts: "h:5433"},
		"scheme of Heroku": {url: "postgresql://u:p@h/d", hosts: "h:5432"},
		"several hosts":    {url: "postgres://u:p@h1:5433,h2:5434,h3/d?target_session_attrs=read-write", hosts: "h1:5433 h2:5434 h3:5432"},
		"hosts as a parameter": {
			url:   "postgres://u:p@/d?host=h1,h2&port=5433,5434",
			hosts: "h1:5433 h2:5434",
		},
		"balanced hosts": {url: "postgres://u:p@h1,h2/d?load_balance_hosts=random", hosts: "h1:5432 h2:5432"},
		"IPv6":           {url: "postgres://u:p@[::1]:5433/d", hosts: "[::1]:5433"},
		"Unix socket":    {url: "postgres://u:p@%2Fvar%2Frun%2Fpostgresql/d", hosts: "/var/run/postgresql:5432"},
		"socket of Cloud SQL": {
			url:   "postgres://u:p@/d?host=/cloudsql/project:region:instance",
			hosts: "[/cloudsql/project:region:instance]:5432",
		},
		"password with special characters": {
			url:   "postgres://u:p%40s%2Fs%3Fw%25%27%5C+%23@h/d",
			hosts: "h:5432",
			check: func(t *testing.T, c *pq.Config) { checkText(t, "password", c.Password, `p@s/s?w%'\+#`) },
		},
		"RDS": {
			url:   "postgres://u:p@db.abc.eu-west-1.rds.amazonaws.com:5432/d?sslmode=verify-full&sslrootcert=system",
			hosts: "db.abc.eu-west-1.rds.amazonaws.com:5432",
			check: func(t *testing.T, c *pq.Config) { checkText(t, "sslmode", string(c.SSLMode), "verify-full") },
		},
		"Neon, verified": {
			url:   "postgresql://u:p@ep-a-1.eu.aws.neon.tech/d?sslmode=verify-full&sslrootcert=system&channel_binding=require",
			hosts: "ep-a-1.eu.aws.neon.tech:5432",
		},
		"Neon without SNI": {
			url:   "postgresql://u:p@ep-a-1.eu.aws.neon.tech/d?sslmode=require&options=endpoint%3Dep-a-1",
			hosts: "ep-a-1.eu.aws.neon.tech:5432",
			check: func(t *testing.T, c *pq.Config) { checkText(t, "options", c.Options, "endpoint=ep-a-1") },
		},
		"Supabase": {
			url:   "postgresql://postgres.ref:p@aws-0-eu.pooler.supabase.com:5432/postgres",
			hosts: "aws-0-eu.pooler.supabase.com:5432",
			check: func(t *testing.T, c *pq.Config) { checkText(t, "user", c.User, "postgres.ref") },
		},
		"Azure": {
			url:   "postgres://u%40server:p@server.postgres.database.azure.com/d?sslmode=require",
			hosts: "server.postgres.database.azure.com:5432",
			check: func(t *testing.T, c *pq.Config) { checkText(t, "user", c.User, "u@server") },
		},
		"settings of the server": {
			url:      "postgres://u:p@h/d?search_path=ledger&Work_Mem=8MB&TimeZone=UTC",
			hosts:    "h:5432",
			settings: "search_path=ledger timezone=UTC work_mem=8MB",
		},
		"parameters without an effect": {
			url: "postgres://u:p@h/d?keepalives=1&keepalives_idle=30&tcp_user_timeout=9&gssencmode=disable&channel_binding=prefer" +
				"&sslcompression=0&connect_timeout=3&binary_parameters=yes&target_session_attrs=any",
			hosts: "h:5432",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target, err := ParseURL(tc.url)
			if err != nil {
				t.Fatal(err)
			}
			var hosts []string
			for i := range target.hosts {
				hosts = append(hosts, describeHost(&target.hosts[i]))
			}
			checkText(t, "hosts", strings.Join(hosts, " "), tc.hosts)
			var settings []string
			for _, name := range []string{"search_path", "timezone", "work_mem"} {
				if value, ok := target.settings[name]; ok {
					settings = append(settings, name+"="+value)
				}
			}
			checkText(t, "settings", strings.Join(settings, " "), tc.settings)
			if len(settings) != len(target.settings) {
				t.Errorf("settings of the server: got %v, want %d", target.settings, len(settings))
			}
			if tc.check != nil {
				tc.check(t, &target.hosts[0])
			}
		})
	}
}

func checkText(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// TestUnusableURLsAreRefused has URLs that cannot work. The error names the remedy, and never quotes
// the password.
func TestUnusableURLsAreRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ url, remedy string }{
		"channel binding without verification": {"postgres://u:secret@h/d?sslmode=require&channel_binding=require", "sslmode=verify-full"},
		"standby asked for":                    {"postgres://u:secret@h/d?target_session_attrs=prefer-standby", "read-write"},
		"encryption by Kerberos":               {"postgres://u:secret@h/d?gssencmode=require", "sslmode"},
		"Prisma's pgbouncer":                   {"postgres://u:secret@h/d?pgbouncer=true", "session mode"},
		"Prisma's schema":                      {"postgres://u:secret@h/d?schema=ledger", "search_path"},
		"pool of another client":               {"postgres://u:secret@h/d?pool_max_conns=5", "--db-connections"},
		"ssl of another client":                {"postgres://u:secret@h/d?ssl=true", "sslmode=require"},
		"unknown sslmode":                      {"postgres://u:secret@h/d?sslmode=no-verify", "verify-full"},
		"weak sslmode with the system's roots": {"postgres://u:secret@h/d?sslmode=require&sslrootcert=system", "verify-full"},
		"ports without hosts":                  {"postgres://u:secret@/d?host=h1,h2,h3&port=1,2", "match"},
		"slash in the password":                {"postgres://u:sec/ret@h/d", "percent-encoded"},
		"question mark in the password":        {"postgres://u:sec?ret@h/d", "percent-encoded"},
		"percent sign in the password":         {"postgres://u:sec%ret@h/d", "percent-encoded"},
		"space in the host":                    {"postgres://u:secret@h h/d", "percent-encoded"},
		"another database":                     {"mysql://u:secret@h/d", "postgres://"},
		"words":                                {"host=h user=u password=secret", "postgres://"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := ParseURL(tc.url)
			if err == nil {
				t.Fatal("got no error")
			}
			if !strings.Contains(err.Error(), tc.remedy) {
				t.Errorf("error: got %q, want it to name %s", err, tc.remedy)
			}
			for _, secret := range []string{"secret", "sec/", "sec?", "sec%", "ret@", `"sec"`} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error quotes the password: %v", err)
				}
			}
		})
	}
}
