//! 0.3: sends 4 KiB and ends the stream, but never says that there are no trailers.

use p3::End;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{wit_future, wit_stream};

async fn misbehave(_request: Request) -> Result<Response, ErrorCode> {
    let (mut writer, reader) = wit_stream::new();
    let (end, end_reader) = wit_future::new::<End>(|| Ok(None));
    let (response, _sent) = Response::new(Fields::new(), Some(reader), end_reader);
    wasip3::spawn(async move {
        writer.write_all(vec![b'x'; 4096]).await;
        drop(writer);
        loop {
            p3::wait_ms(3_600_000).await;
            // Here only so that it is kept up to here.
            let _ = &end;
        }
    });
    Ok(response)
}

p3::misbehaves!(misbehave);
