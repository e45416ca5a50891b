// The story's program: a web server with one thing to say.
package main

import (
	"fmt"
	"log"
	"net/http"
)

func main() {
	http.HandleFunc("/", func(answer http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(answer, "Hello from Docker!")
	})
	log.Fatal(http.ListenAndServe(":8080", nil))
}
