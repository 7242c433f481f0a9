//! A component's files as the interface has them: descriptors, streams, and a refusal for all that would change something.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    self, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, ErrorCode,
    MetadataHashValue, OpenFlags,
};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, FsError, FsResult, InputStream, Pollable, StreamError,
    StreamResult,
};

use super::{Files, ROOT, What};
use crate::host::state::GuestState;

/// A file or folder that a guest has open.
struct OpenNode {
    files: Arc<Files>,
    node: usize,
}

/// A folder's names that a guest has not been told yet.
struct Listing(std::vec::IntoIter<DirectoryEntry>);

/// A file that is read from its beginning, or from elsewhere, to its end.
struct Reading {
    files: Arc<Files>,
    node: usize,
    offset: u64,
}

#[async_trait::async_trait]
impl Pollable for Reading {
    async fn ready(&mut self) {}
}

impl InputStream for Reading {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let read = self.files.read(self.node, self.offset, size as u64);
        let read = read.map_err(|error| StreamError::LastOperationFailed(error.into()))?;
        if read.is_empty() && size > 0 {
            return Err(StreamError::Closed);
        }
        self.offset += read.len() as u64;
        Ok(read.into())
    }
}

type Descriptor = Resource<types::Descriptor>;

impl GuestState {
    /// The bindings' type of a descriptor cannot be made here: its number leads to what is open all the same.
    fn open_node(&mut self, descriptor: &Descriptor) -> Result<(Arc<Files>, usize), FsError> {
        let ours: Resource<OpenNode> = Resource::new_borrow(descriptor.rep());
        let open = self.table().get(&ours)?;
        Ok((Arc::clone(&open.files), open.node))
    }

    fn push_node(&mut self, files: Arc<Files>, node: usize) -> Result<Descriptor, FsError> {
        let pushed = self.table().push(OpenNode { files, node })?;
        Ok(Resource::new_own(pushed.rep()))
    }
}

/// For all that would change something, where there is such a descriptor.
fn read_only<T>(state: &mut GuestState, descriptor: &Descriptor) -> FsResult<T> {
    state.open_node(descriptor)?;
    Err(ErrorCode::ReadOnly.into())
}

impl preopens::Host for &mut GuestState {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Descriptor, String)>> {
        let Some(files) = self.files.clone() else {
            return Ok(Vec::new());
        };
        let pushed = self.table().push(OpenNode { files, node: ROOT })?;
        Ok(vec![(Resource::new_own(pushed.rep()), "/".to_owned())])
    }
}

impl types::Host for &mut GuestState {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn filesystem_error_code(
        &mut self,
        error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        Ok(self
            .table()
            .get(&error)?
            .downcast_ref::<ErrorCode>()
            .copied())
    }
}

impl types::HostDescriptor for &mut GuestState {
    fn read_via_stream(
        &mut self,
        descriptor: Descriptor,
        offset: u64,
    ) -> FsResult<Resource<DynInputStream>> {
        let (files, node) = self.open_node(&descriptor)?;
        if matches!(files.what(node)?, What::Folder(_)) {
            return Err(ErrorCode::IsDirectory.into());
        }
        let reading: DynInputStream = Box::new(Reading {
            files,
            node,
            offset,
        });
        Ok(self.table().push(reading)?)
    }

    fn write_via_stream(
        &mut self,
        descriptor: Descriptor,
        _offset: u64,
    ) -> FsResult<Resource<DynOutputStream>> {
        read_only(self, &descriptor)
    }

    fn append_via_stream(&mut self, descriptor: Descriptor) -> FsResult<Resource<DynOutputStream>> {
        read_only(self, &descriptor)
    }

    async fn advise(
        &mut self,
        descriptor: Descriptor,
        _offset: u64,
        _length: u64,
        _advice: types::Advice,
    ) -> FsResult<()> {
        self.open_node(&descriptor).map(drop)
    }

    async fn sync_data(&mut self, descriptor: Descriptor) -> FsResult<()> {
        self.open_node(&descriptor).map(drop)
    }

    async fn get_flags(&mut self, descriptor: Descriptor) -> FsResult<DescriptorFlags> {
        self.open_node(&descriptor)?;
        Ok(DescriptorFlags::READ)
    }

    async fn get_type(&mut self, descriptor: Descriptor) -> FsResult<DescriptorType> {
        let (files, node) = self.open_node(&descriptor)?;
        Ok(files.kind(node)?)
    }

    async fn set_size(&mut self, descriptor: Descriptor, _size: u64) -> FsResult<()> {
        read_only(self, &descriptor)
    }

    async fn set_times(
        &mut self,
        descriptor: Descriptor,
        _accessed: types::NewTimestamp,
        _modified: types::NewTimestamp,
    ) -> FsResult<()> {
        read_only(self, &descriptor)
    }

    async fn read(
        &mut self,
        descriptor: Descriptor,
        length: u64,
        offset: u64,
    ) -> FsResult<(Vec<u8>, bool)> {
        let (files, node) = self.open_node(&descriptor)?;
        let read = files.read(node, offset, length)?;
        let end = offset.saturating_add(read.len() as u64) >= files.length(node)?;
        Ok((read, end))
    }

    async fn write(
        &mut self,
        descriptor: Descriptor,
        _bytes: Vec<u8>,
        _offset: u64,
    ) -> FsResult<u64> {
        read_only(self, &descriptor)
    }

    async fn read_directory(
        &mut self,
        descriptor: Descriptor,
    ) -> FsResult<Resource<types::DirectoryEntryStream>> {
        let (files, node) = self.open_node(&descriptor)?;
        let What::Folder(names) = files.what(node)? else {
            return Err(ErrorCode::NotDirectory.into());
        };
        let entries: Result<Vec<_>, ErrorCode> = names
            .iter()
            .map(|(name, node)| {
                Ok(DirectoryEntry {
                    type_: files.kind(*node)?,
                    name: name.to_string(),
                })
            })
            .collect();
        let pushed = self.table().push(Listing(entries?.into_iter()))?;
        Ok(Resource::new_own(pushed.rep()))
    }

    async fn sync(&mut self, descriptor: Descriptor) -> FsResult<()> {
        self.open_node(&descriptor).map(drop)
    }

    async fn create_directory_at(&mut self, descriptor: Descriptor, _path: String) -> FsResult<()> {
        read_only(self, &descriptor)
    }

    async fn stat(&mut self, descriptor: Descriptor) -> FsResult<DescriptorStat> {
        let (files, node) = self.open_node(&descriptor)?;
        Ok(files.stat(node)?)
    }

    async fn stat_at(
        &mut self,
        descriptor: Descriptor,
        _path_flags: types::PathFlags,
        path: String,
    ) -> FsResult<DescriptorStat> {
        let (files, node) = self.open_node(&descriptor)?;
        Ok(files.stat(files.find(node, &path)?)?)
    }

    async fn set_times_at(
        &mut self,
        descriptor: Descriptor,
        _path_flags: types::PathFlags,
        _path: String,
        _accessed: types::NewTimestamp,
        _modified: types::NewTimestamp,
    ) -> FsResult<()> {
        read_only(self, &descriptor)
    }

    async fn link_at(
        &mut self,
        descriptor: Descriptor,
        _path_flags: types::PathFlags,
        _old: String,
        _to: Descriptor,
        _new: String,
    ) -> FsResult<()> {
        read_only(self, &descriptor)
    }

    async fn open_at(
        &mut self,
        descriptor: Descriptor,
        _path_flags: types::PathFlags,
        path: String,
        how: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Descriptor> {
        let (files, from) = self.open_node(&descriptor)?;
        let changing = DescriptorFlags::WRITE | DescriptorFlags::MUTATE_DIRECTORY;
        let node = match files.find(from, &path) {
            Ok(_) if how.contains(OpenFlags::CREATE | OpenFlags::EXCLUSIVE) => {
                return Err(ErrorCode::Exist.into());
            }
            Ok(_) if how.contains(OpenFlags::TRUNCATE) || flags.intersects(changing) => {
                return Err(ErrorCode::ReadOnly.into());
            }
            Ok(node) => node,
            Err(ErrorCode::NoEntry) if how.contains(OpenFlags::CREATE) => {
                return Err(ErrorCode::ReadOnly.into());
            }
            Err(error) => return Err(error.into()),
        };
        let is_file = matches!(files.what(node)?, What::File { .. });
        if is_file && (how.contains(OpenFlags::DIRECTORY) || path.ends_with('/')) {
            return Err(ErrorCode::NotDirectory.into());
        }
        self.push_node(files, node)
    }

    async fn readlink_at(&mut self, descriptor: Descriptor, path: String) -> FsResult<String> {
        let (files, node) = self.open_node(&descriptor)?;
        files.find(node, &path)?;
        // There are no links.
        Err(ErrorCode::Invalid.into())
    }

    async fn remove_directory_at(&mut self, descriptor: Descriptor, _path: String) -> FsResult<()> {
        read_only(self, &descriptor)
    }

    async fn rename_at(
        &mut self,
        descriptor: Descriptor,
        _old: String,
        _to: Descriptor,
        _new: String,
    ) -> FsResult<()> {
        read_only(self, &descriptor)
    }

    async fn symlink_at(
        &mut self,
        descriptor: Descriptor,
        _old: String,
        _new: String,
    ) -> FsResult<()> {
        read_only(self, &descriptor)
    }

    async fn unlink_file_at(&mut self, descriptor: Descriptor, _path: String) -> FsResult<()> {
        read_only(self, &descriptor)
    }

    async fn is_same_object(&mut self, a: Descriptor, b: Descriptor) -> wasmtime::Result<bool> {
        let a: Resource<OpenNode> = Resource::new_borrow(a.rep());
        let b: Resource<OpenNode> = Resource::new_borrow(b.rep());
        Ok(self.table().get(&a)?.node == self.table().get(&b)?.node)
    }

    async fn metadata_hash(&mut self, descriptor: Descriptor) -> FsResult<MetadataHashValue> {
        let (files, node) = self.open_node(&descriptor)?;
        Ok(files.hash(node)?)
    }

    async fn metadata_hash_at(
        &mut self,
        descriptor: Descriptor,
        _path_flags: types::PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        let (files, node) = self.open_node(&descriptor)?;
        Ok(files.hash(files.find(node, &path)?)?)
    }

    fn drop(&mut self, descriptor: Descriptor) -> wasmtime::Result<()> {
        let ours: Resource<OpenNode> = Resource::new_own(descriptor.rep());
        self.table().delete(ours)?;
        Ok(())
    }
}

impl types::HostDirectoryEntryStream for &mut GuestState {
    async fn read_directory_entry(
        &mut self,
        stream: Resource<types::DirectoryEntryStream>,
    ) -> FsResult<Option<DirectoryEntry>> {
        let ours: Resource<Listing> = Resource::new_borrow(stream.rep());
        Ok(self.table().get_mut(&ours)?.0.next())
    }

    fn drop(&mut self, stream: Resource<types::DirectoryEntryStream>) -> wasmtime::Result<()> {
        let ours: Resource<Listing> = Resource::new_own(stream.rep());
        self.table().delete(ours)?;
        Ok(())
    }
}
