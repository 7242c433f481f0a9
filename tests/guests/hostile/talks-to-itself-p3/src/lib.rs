//! 0.3: sends bytes without end through a stream of which it has both ends.

use wasip3::http::types::{ErrorCode, Request, Response};
use wasip3::wit_stream;

async fn misbehave(_request: Request) -> Result<Response, ErrorCode> {
    let (mut writer, mut reader) = wit_stream::new();
    wasip3::spawn(async move { while writer.write_all(vec![1_u8; 4096]).await.is_empty() {} });
    loop {
        let _ = reader.read(Vec::with_capacity(4096)).await;
    }
}

p3::misbehaves!(misbehave);
