module github.com/parelm/pare

go 1.26
