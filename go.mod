module github.com/parelm/pare

go 1.26

require github.com/dlclark/regexp2 v1.12.0

require golang.org/x/text v0.36.0
