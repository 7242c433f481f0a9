//! An upload that is only tried: everything that would refuse it, and nothing kept.

use control_api::error::{PlaneError, Problem};
use control_api::plane::Upload;
use control_api::view::{self, DryRunProblem, Precondition, UploadDryRun};

use super::compile::{compile_error, queue_full, would_refuse};
use super::plane::tenant_in;
use super::upload::{may_become, may_take};
use super::{Control, views};

impl Control {
    /// What an upload would meet, in the order in which it would; nothing is kept.
    pub(super) async fn try_upload(
        &self,
        upload: Upload,
        precondition: Precondition,
    ) -> Result<UploadDryRun, PlaneError> {
        let Upload {
            tenant,
            module,
            statement,
            declared_bytes,
            body,
            ..
        } = upload;
        let mut problems = Vec::new();
        let mut signed = None;
        if let Some(text) = statement {
            match self.verify(&tenant, &module, &text) {
                Ok(good) => signed = Some(good.statement),
                Err(error) => problems.push(error),
            }
        }
        let (limits, grants) = {
            let state = self.read();
            let refused = match &signed {
                Some(statement) => {
                    may_become(&state, &tenant, &module, statement, precondition).err()
                }
                None => may_take(&state, &tenant, &module, precondition).err(),
            };
            problems.extend(refused);
            let found = tenant_in(&state, &tenant)?;
            let kept = found.modules.get(&module);
            let grants = kept.map(|kept| views::grants(&kept.value));
            (*found.limits, grants.unwrap_or_default())
        };
        let _under_way = self
            .uploading
            .try_read()
            .map_err(|_| PlaneError::HandingOver)?;
        let place = self.uploads.take(&tenant)?;
        let bytes = self
            .take_bytes(body, declared_bytes, limits.component_kib_max << 10)
            .await?;
        drop(place);
        let digest = bytes.digest();
        if let Some(statement) = &signed
            && statement.digest != digest
        {
            problems.push(PlaneError::DigestMismatch {
                stated: statement.digest,
                actual: digest,
            });
        }
        let turn = self
            .dry_run_queue
            .enqueue()
            .map_err(queue_full)?
            .turn()
            .await;
        let inspected = self
            .compiler
            .inspect(bytes.file(), bytes.bytes(), &self.compile_limits())
            .await;
        drop(turn);
        let bytes_max = limits.instance_memory_mib_max << 20;
        let mut answer = UploadDryRun {
            accepted: false,
            problems: Vec::new(),
            digest,
            component_bytes: bytes.bytes(),
            world: None,
            inspection: view::Inspection::default(),
            instance_memory_bytes_max: bytes_max,
            fits: false,
            artifact_ready: false,
        };
        match inspected {
            Ok(inspection) => {
                problems.extend(would_refuse(&inspection, bytes_max));
                answer.world = inspection.world.map(|world| world.name().to_owned());
                answer.fits = inspection.memory.initial_bytes <= bytes_max;
                answer.inspection = views::inspection(&inspection, Some(&grants));
                answer.artifact_ready = self.known_component(&digest).await.is_some();
            }
            Err(error) => problems.push(compile_error(error)),
        }
        answer.accepted = problems.is_empty();
        answer.problems = problems.iter().map(dry_run_problem).collect();
        Ok(answer)
    }
}

fn dry_run_problem(error: &PlaneError) -> DryRunProblem {
    let problem = Problem::from_plane(error, "");
    DryRunProblem {
        problem_type: problem.problem_type,
        detail: problem.detail,
    }
}
