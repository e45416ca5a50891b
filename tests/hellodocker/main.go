// The story's program: a web server with one thing to say.
package main

import (
	"fmt"
	"log"
	"net/http"
)

const greeting = `
          ##         .
    ## ## ##        ==
 ## ## ## ## ##    ===
/"""""""""""""""""\___/ ===
{                       /  ===-
\______ O           __/
 \    \         __/
  \____\_______/

Hello from Docker!
`

func main() {
	http.HandleFunc("/", func(answer http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(answer, greeting)
	})
	log.Fatal(http.ListenAndServe(":80", nil))
}
