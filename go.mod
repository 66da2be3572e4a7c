module github.com/parelm/pare

go 1.26.0

require (
	github.com/dlclark/regexp2 v1.12.0
	go.yaml.in/yaml/v4 v4.0.0
	golang.org/x/sys v0.49.0
	golang.org/x/text v0.36.0
	gonum.org/v1/gonum v0.17.0
)
