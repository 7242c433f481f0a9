;; A component of wasi:http/proxy 0.2. Types as in the packages of WASI 0.2.12.
(component
  (import "wasi:io/poll@0.2.12" (instance $poll
    (export "pollable" (type $pollable (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $pollable))))
    (export "poll" (func (param "in" (list (borrow $pollable))) (result (list u32))))
  ))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:clocks/monotonic-clock@0.2.12" (instance $clock
    (alias outer 1 $pollable (type $pollable))
    (export "now" (func (result u64)))
    (export "subscribe-duration" (func (param "when" u64) (result (own $pollable))))
    (export "subscribe-instant" (func (param "when" u64) (result (own $pollable))))
  ))
  (import "wasi:random/random@0.2.12" (instance $random
    (export "get-random-bytes" (func (param "len" u64) (result (list u8))))
  ))
  (import "wasi:io/error@0.2.12" (instance $io-error
    (export "error" (type (sub resource)))
  ))
  (alias export $io-error "error" (type $error))
  (import "wasi:io/streams@0.2.12" (instance $streams
    (alias outer 1 $error (type $error))
    (type $stream-error' (variant (case "last-operation-failed" (own $error)) (case "closed")))
    (export "stream-error" (type $stream-error (eq $stream-error')))
    (export "input-stream" (type $input-stream (sub resource)))
    (export "output-stream" (type $output-stream (sub resource)))
    (export "[method]input-stream.blocking-read" (func
      (param "self" (borrow $input-stream)) (param "len" u64)
      (result (result (list u8) (error $stream-error)))))
    (export "[method]output-stream.blocking-write-and-flush" (func
      (param "self" (borrow $output-stream)) (param "contents" (list u8))
      (result (result (error $stream-error)))))
  ))
  (alias export $streams "input-stream" (type $input-stream))
  (alias export $streams "output-stream" (type $output-stream))
  (import "wasi:http/types@0.2.12" (instance $http
    (alias outer 1 $input-stream (type $input-stream))
    (alias outer 1 $output-stream (type $output-stream))
    (type $dns' (record (field "rcode" (option string)) (field "info-code" (option u16))))
    (export "DNS-error-payload" (type $dns (eq $dns')))
    (type $tls' (record (field "alert-id" (option u8)) (field "alert-message" (option string))))
    (export "TLS-alert-received-payload" (type $tls (eq $tls')))
    (type $size' (record (field "field-name" (option string)) (field "field-size" (option u32))))
    (export "field-size-payload" (type $size (eq $size')))
    (type $error-code' (variant
      (case "DNS-timeout") (case "DNS-error" $dns) (case "destination-not-found")
      (case "destination-unavailable") (case "destination-IP-prohibited")
      (case "destination-IP-unroutable") (case "connection-refused")
      (case "connection-terminated") (case "connection-timeout") (case "connection-read-timeout")
      (case "connection-write-timeout") (case "connection-limit-reached")
      (case "TLS-protocol-error") (case "TLS-certificate-error") (case "TLS-alert-received" $tls)
      (case "HTTP-request-denied") (case "HTTP-request-length-required")
      (case "HTTP-request-body-size" (option u64)) (case "HTTP-request-method-invalid")
      (case "HTTP-request-URI-invalid") (case "HTTP-request-URI-too-long")
      (case "HTTP-request-header-section-size" (option u32))
      (case "HTTP-request-header-size" (option $size))
      (case "HTTP-request-trailer-section-size" (option u32))
      (case "HTTP-request-trailer-size" $size) (case "HTTP-response-incomplete")
      (case "HTTP-response-header-section-size" (option u32))
      (case "HTTP-response-header-size" $size) (case "HTTP-response-body-size" (option u64))
      (case "HTTP-response-trailer-section-size" (option u32))
      (case "HTTP-response-trailer-size" $size)
      (case "HTTP-response-transfer-coding" (option string))
      (case "HTTP-response-content-coding" (option string)) (case "HTTP-response-timeout")
      (case "HTTP-upgrade-failed") (case "HTTP-protocol-error") (case "loop-detected")
      (case "configuration-error") (case "internal-error" (option string))))
    (export "error-code" (type $error-code (eq $error-code')))
    (export "fields" (type $fields (sub resource)))
    (export "incoming-request" (type $incoming-request (sub resource)))
    (export "incoming-body" (type $incoming-body (sub resource)))
    (export "outgoing-response" (type $outgoing-response (sub resource)))
    (export "outgoing-body" (type $outgoing-body (sub resource)))
    (export "response-outparam" (type $response-outparam (sub resource)))
    (export "[constructor]fields" (func (result (own $fields))))
    (export "[method]incoming-request.path-with-query" (func
      (param "self" (borrow $incoming-request)) (result (option string))))
    (export "[method]incoming-request.consume" (func
      (param "self" (borrow $incoming-request)) (result (result (own $incoming-body)))))
    (export "[method]incoming-body.stream" (func
      (param "self" (borrow $incoming-body)) (result (result (own $input-stream)))))
    (export "[constructor]outgoing-response" (func
      (param "headers" (own $fields)) (result (own $outgoing-response))))
    (export "[method]outgoing-response.body" (func
      (param "self" (borrow $outgoing-response)) (result (result (own $outgoing-body)))))
    (export "[static]response-outparam.set" (func
      (param "param" (own $response-outparam))
      (param "response" (result (own $outgoing-response) (error $error-code)))))
    (export "[method]outgoing-body.write" (func
      (param "self" (borrow $outgoing-body)) (result (result (own $output-stream)))))
    (export "[static]outgoing-body.finish" (func
      (param "this" (own $outgoing-body)) (param "trailers" (option (own $fields)))
      (result (result (error $error-code)))))
  ))
  (alias export $http "fields" (type $fields))
  (alias export $http "incoming-request" (type $incoming-request))
  (alias export $http "response-outparam" (type $response-outparam))

  ;; The memory: 0 is where host functions leave their results, 1024 "ok\n", 2048 to 4096 what is
  ;; said, 4096 to 8192 a chunk of the letter x. Page 1 is what cabi_realloc gives out, always the
  ;; same, so lists of up to 64 KiB fit and nobody runs out of it.
  (core module $Memory
    (memory (export "memory") {{memory}})
    {{realloc}}
  )
  (core instance $memory (instantiate $Memory))
  (alias core export $memory "memory" (core memory $memory))
  (alias core export $memory "cabi_realloc" (core func $realloc))

  {{beside}}

  (core func $now (canon lower (func $clock "now")))
  (core func $in (canon lower (func $clock "subscribe-duration")))
  (core func $at (canon lower (func $clock "subscribe-instant")))
  (core func $block (canon lower (func $poll "[method]pollable.block")))
  (core func $poll (canon lower (func $poll "poll") (memory $memory) (realloc $realloc)))
  (core func $drop-pollable (canon resource.drop $pollable))
  (core func $random (canon lower (func $random "get-random-bytes")
    (memory $memory) (realloc $realloc)))
  (core func $path (canon lower (func $http "[method]incoming-request.path-with-query")
    (memory $memory) (realloc $realloc)))
  (core func $consume (canon lower (func $http "[method]incoming-request.consume")
    (memory $memory)))
  (core func $incoming (canon lower (func $http "[method]incoming-body.stream") (memory $memory)))
  (core func $read (canon lower (func $streams "[method]input-stream.blocking-read")
    (memory $memory) (realloc $realloc)))
  (core func $fields (canon lower (func $http "[constructor]fields")))
  (core func $drop-fields (canon resource.drop $fields))
  (core func $response (canon lower (func $http "[constructor]outgoing-response")))
  (core func $body (canon lower (func $http "[method]outgoing-response.body") (memory $memory)))
  (core func $set (canon lower (func $http "[static]response-outparam.set") (memory $memory)))
  (core func $drop-out (canon resource.drop $response-outparam))
  (core func $outgoing (canon lower (func $http "[method]outgoing-body.write") (memory $memory)))
  (core func $write (canon lower
    (func $streams "[method]output-stream.blocking-write-and-flush")
    (memory $memory) (realloc $realloc)))
  (core func $drop-stream (canon resource.drop $output-stream))
  (core func $finish (canon lower (func $http "[static]outgoing-body.finish")
    (memory $memory) (realloc $realloc)))

  (core module $Main
    (import "" "memory" (memory 1))
    (import "" "now" (func $now (result i64)))
    ;; A pollable that is ready after so many, or at, nanoseconds.
    (import "" "in" (func $in (param i64) (result i32)))
    (import "" "at" (func $at (param i64) (result i32)))
    (import "" "block" (func $block (param $pollable i32)))
    (import "" "poll" (func $poll (param $list i32) (param $length i32) (param $result i32)))
    (import "" "drop-pollable" (func $drop-pollable (param i32)))
    (import "" "random" (func $random (param $length i64) (param $result i32)))
    (import "" "path" (func $path (param $request i32) (param $result i32)))
    (import "" "consume" (func $consume (param $request i32) (param $result i32)))
    (import "" "incoming" (func $incoming (param $body i32) (param $result i32)))
    (import "" "read" (func $read (param $stream i32) (param $length i64) (param $result i32)))
    (import "" "fields" (func $fields (result i32)))
    (import "" "drop-fields" (func $drop-fields (param i32)))
    (import "" "response" (func $response (param $fields i32) (result i32)))
    (import "" "body" (func $body (param $response i32) (param $result i32)))
    (import "" "set" (func $set
      (param $out i32) (param $is-error i32) (param $response i32) (param i32 i64 i32 i32 i32 i32)))
    (import "" "drop-out" (func $drop-out (param i32)))
    (import "" "outgoing" (func $outgoing (param $body i32) (param $result i32)))
    (import "" "write" (func $write
      (param $stream i32) (param $at i32) (param $length i32) (param $result i32)))
    (import "" "drop-stream" (func $drop-stream (param i32)))
    (import "" "finish" (func $finish
      (param $body i32) (param $has-trailers i32) (param $trailers i32) (param $result i32)))

    (data (i32.const 1024) "ok\n")

    (global $the-body (mut i32) (i32.const 0))
    (global $the-stream (mut i32) (i32.const 0))
    (global $said (mut i32) (i32.const 2048))

    ;; Makes a response with a body that can be written to, and gives its handle.
    (func $prepare (result i32) (local $response i32)
      (local.set $response (call $response (call $fields)))
      (call $body (local.get $response) (i32.const 0))
      (global.set $the-body (i32.load (i32.const 4)))
      (call $outgoing (global.get $the-body) (i32.const 0))
      (global.set $the-stream (i32.load (i32.const 4)))
      (local.get $response))
    ;; Sends the head of an answer.
    (func $head (param $out i32)
      (call $set (local.get $out) (i32.const 0) (call $prepare)
        (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
    ;; Sends at most 4096 bytes, and says whether nobody takes them any more.
    (func $send (param $at i32) (param $length i32) (result i32)
      (call $write (global.get $the-stream) (local.get $at) (local.get $length) (i32.const 0))
      (i32.load8_u (i32.const 0)))
    ;; Sends the chunk of 4096 bytes.
    (func $send-chunk (result i32)
      (memory.fill (i32.const 4096) (i32.const 0x78) (i32.const 4096))
      (call $send (i32.const 4096) (i32.const 4096)))
    ;; Ends the body.
    (func $end
      (call $drop-stream (global.get $the-stream))
      (call $finish (global.get $the-body) (i32.const 0) (i32.const 0) (i32.const 0)))
    ;; Answers at most 4096 bytes, the whole response.
    (func $answer (param $out i32) (param $at i32) (param $length i32)
      (call $head (local.get $out))
      (drop (call $send (local.get $at) (local.get $length)))
      (call $end))
    ;; Adds one character, or a number and a space, to what $answer-said answers.
    (func $say (param $character i32)
      (i32.store8 (global.get $said) (local.get $character))
      (global.set $said (i32.add (global.get $said) (i32.const 1))))
    (func $digits (param $number i64)
      (if (i64.ge_u (local.get $number) (i64.const 10))
        (then (call $digits (i64.div_u (local.get $number) (i64.const 10)))))
      (call $say (i32.add (i32.const 48)
        (i32.wrap_i64 (i64.rem_u (local.get $number) (i64.const 10))))))
    (func $say-number (param $number i64)
      (call $digits (local.get $number))
      (call $say (i32.const 32)))
    ;; Answers what was said, as one line.
    (func $answer-said (param $out i32)
      (call $say (i32.const 10))
      (call $answer (local.get $out)
        (i32.const 2048) (i32.sub (global.get $said) (i32.const 2048))))
    ;; Waits so many nanoseconds.
    (func $wait (param $ns i64) (local $pollable i32)
      (call $block (local.tee $pollable (call $in (local.get $ns))))
      (call $drop-pollable (local.get $pollable)))
    ;; The stream of the request body.
    (func $request-body (param $request i32) (result i32)
      (call $consume (local.get $request) (i32.const 0))
      (call $incoming (i32.load (i32.const 4)) (i32.const 0))
      (i32.load (i32.const 4)))
    ;; Whether the path ends with "k" and has length 3, as "/ok" does; no guest has another such.
    (func $asks-for-ok (param $request i32) (result i32)
      (call $path (local.get $request) (i32.const 0))
      (i32.and
        (i32.eq (i32.load (i32.const 8)) (i32.const 3))
        (i32.eq (i32.load8_u (i32.add (i32.load (i32.const 4)) (i32.const 2))) (i32.const 0x6b))))

    (func (export "handle") (param $request i32) (param $out i32)
      (if (call $asks-for-ok (local.get $request))
        (then (call $answer (local.get $out) (i32.const 1024) (i32.const 3)))
        (else (call $misbehave (local.get $request) (local.get $out)))))
    (func (export "post-return") {{post-return}})

    {{code}}
  )
  (core instance $main (instantiate $Main (with "" (instance
    (export "memory" (memory $memory))
    (export "now" (func $now))
    (export "in" (func $in))
    (export "at" (func $at))
    (export "block" (func $block))
    (export "poll" (func $poll))
    (export "drop-pollable" (func $drop-pollable))
    (export "random" (func $random))
    (export "path" (func $path))
    (export "consume" (func $consume))
    (export "incoming" (func $incoming))
    (export "read" (func $read))
    (export "fields" (func $fields))
    (export "drop-fields" (func $drop-fields))
    (export "response" (func $response))
    (export "body" (func $body))
    (export "set" (func $set))
    (export "drop-out" (func $drop-out))
    (export "outgoing" (func $outgoing))
    (export "write" (func $write))
    (export "drop-stream" (func $drop-stream))
    (export "finish" (func $finish))
  ))))

  (func $handle
    (param "request" (own $incoming-request)) (param "response-out" (own $response-outparam))
    (canon lift (core func $main "handle") {{lift with}}))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.12" (instance $handler))
)
