// Package peak measures the most memory that the process had resident.
package peak
