// Package monitoringtest checks the alert rules and the Grafana dashboard: they parse, and they ask for metrics and labels that
// exist. A module of its own, so that the product does not depend on Prometheus' parsers.
package monitoringtest
